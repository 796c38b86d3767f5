"""A run's status in two lines: stage, progress and time left; loss, speed, time and memory."""

from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from engine.protocol.state import RunState
from tui.state.run_status import describe_cost, seconds_of
from tui.text.amounts import duration, of_size, size, time_left
from tui.text.metrics import describe_metrics
from tui.text.translation import N_, _

# What each stage means, for newcomers.
STAGE_WORDS = {
    "starting": N_("Starting the engine: importing Unsloth takes 10 to 30 seconds"),
    "loading": N_("Loading the model (the first time, it is downloaded)"),
    "ready": N_("The model is loaded and answers; training has not started"),
    "preparing": N_("Preparing the model and the data"),
    "training": N_("Training"),
    "saving": N_("Saving what was trained"),
    "serving": N_("Trained and ready to chat"),
    "exporting": N_("Exporting the model"),
    "ended": N_("The engine has ended"),
}


@dataclass(frozen=True)
class RunProgress:
    """What the line shows; `now` is in seconds since 1970."""

    words: str
    tone: str = ""
    step: int = 0
    total: int = 0
    left: float | None = None
    facts: tuple[str, ...] = ()


def progress_of(state: RunState, alive: bool, now: float, doing: str = "", frozen: bool = False) -> RunProgress:
    """The progress from a run's state.

    `doing`: the activity seen in the log, such as a download. `frozen`: its process is stopped by a signal.
    """
    total = state.training.total_steps if state.training else 0
    step = state.step.step if state.step and state.training else 0
    tone, words = _headline(state, alive)
    if frozen:
        tone, words = "error", _("Frozen: its process was stopped by a signal")
    left = state.seconds_left if alive and not frozen and state.stage == "training" else None
    facts = _facts(state, alive, now)
    if doing and alive and state.stage in ("starting", "loading", "preparing"):
        facts.append(doing.strip())
    return RunProgress(words, tone, step, total, left, tuple(facts))


def _headline(state: RunState, alive: bool) -> tuple[str, str]:
    if state.failed:
        return "error", _("Failed")
    over = state.stage == "ended" or not alive
    if over and state.trained:
        # However the engine ended: the adapter is complete and saved.
        if state.undelivered:
            return "error", _("Trained, but something is missing")
        stopped = state.finished is not None and state.finished.outcome == "stopped"
        return "success", _("Stopped early, model kept") if stopped else _("Finished")
    if over and state.stage != "ended":
        return "error", _("The engine is gone")
    if over:
        return "error", _("Stopped before its end") if state.stopped else _("Interrupted before its end")
    if state.stage == "serving" and state.undelivered:
        return "error", _("Trained, but something is missing")
    tone = "success" if state.stage in ("serving", "ready") else ""
    return tone, _(STAGE_WORDS[state.stage])


def _facts(state: RunState, alive: bool, now: float) -> list[str]:
    facts = []
    if state.step:
        facts.append(_("loss {loss}").format(loss="nan" if state.step.loss is None else f"{state.step.loss:.4f}"))
        facts += describe_metrics(state.metrics)
        if state.step.tokens_per_second and not state.finished:
            facts.append(_("{rate} tokens/s").format(rate=f"{state.step.tokens_per_second:,.0f}"))
    if seconds := _seconds(state, alive, now):
        facts.append(_("time {time}").format(time=duration(seconds)))
    if cost := describe_cost(seconds_of(state, alive, now)):
        facts.append(cost)
    device = state.model.device if state.model else None
    reserved = state.step.reserved_bytes if state.step else state.model.reserved_bytes if state.model else 0
    if device and reserved and device.kind == "cpu":
        facts.append(_("memory {size}").format(size=size(reserved)))
    elif device and reserved:
        facts.append(_("GPU memory {size}").format(size=of_size(reserved, device.total_bytes)))
    return facts


def _seconds(state: RunState, alive: bool, now: float) -> float:
    """Seconds of training over all engines; before training, seconds since the engine started."""
    if state.finished:
        # After a restart from step 1, TrainingFinished counts only the last engine's seconds.
        return max(state.finished.seconds, state.clock.training_seconds)
    over = state.ended or state.failed or not alive
    since = 0.0 if over or not state.last_event else max(0.0, now - state.last_event.time)
    if state.training:
        return state.clock.training_seconds + (since if state.stage == "training" else 0.0)
    return state.clock.engine_seconds + since


class StatusLine(Widget):
    """Shows a `RunProgress`. Redrawn only when it changes."""

    DEFAULT_CSS = """
    StatusLine { height: 2; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BAR = 20

    progress: reactive[RunProgress] = reactive(RunProgress(""))

    def __init__(self, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._full, self._empty = ("█", "░") if unicode else ("#", "-")

    def render(self) -> Content:
        shown = self.progress
        tone = {"error": "bold $error", "success": "bold $success"}.get(shown.tone, "bold")
        parts: list[tuple[str, str]] = [(shown.words, tone)]
        if shown.total:
            parts.append((_("  step {step}/{total}  ").format(step=shown.step, total=shown.total), ""))
            percent = shown.step / shown.total
            left = _("about {time} left").format(time=time_left(shown.left)) if shown.left is not None else ""
            taken = sum(cell_len(text) for text, _style in parts) + 8 + cell_len(left)
            bar = max(6, min(40, self.size.width - taken))
            full = min(bar, round(percent * bar))
            parts += [
                (self._full * full, "$success"),
                (self._empty * (bar - full), "$foreground-muted"),
                (f" {int(percent * 100)}%", ""),
                (f"  {left}", ""),
            ]
        first = Content.assemble(*parts)
        return Content.assemble(first, "\n", (" · ".join(shown.facts), "$foreground-muted"))
