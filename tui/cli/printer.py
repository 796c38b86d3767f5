"""Prints a run's progress without the wizard: as JSON, as lines, or live on a terminal."""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from engine.protocol import events as ev
from engine.protocol.state import RunState
from tui.text.amounts import count, duration, size, time_left
from tui.text.json_output import to_json
from tui.text.metrics import describe_metrics
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

LINE_SECONDS = 1.0  # between the lines of two steps, so that a quick run does not flood a log

STAGE_LINES = {
    "starting": N_("Starting the engine: importing Unsloth takes 10 to 30 seconds"),
    "loading": N_("Loading the model (the first time, it is downloaded)"),
    "preparing": N_("Preparing the model and the data"),
    "saving": N_("Saving what was trained"),
    "exporting": N_("Exporting the model"),
}


class Printer(Protocol):
    """Where progress is printed."""

    def show(self, event: ev.AnyEvent, state: RunState) -> None:
        """Print an event; `state` includes it already."""

    def tick(self, state: RunState) -> None:
        """Called several times a second, with or without new events."""

    def write(self, text: str) -> None:
        """A line of Loris's own."""

    def finish(self, state: RunState) -> None:
        """Print the end of a run that was not interrupted: the report, the answers, where the model is."""

    def close(self) -> None:
        """Restore the terminal."""


class JsonPrinter:
    """The events, one JSON object per line, for scripts."""

    def show(self, event: ev.AnyEvent, state: RunState) -> None:
        sys.stdout.buffer.write(to_json(event).encode() + b"\n")
        sys.stdout.buffer.flush()

    def tick(self, state: RunState) -> None: ...

    def write(self, text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201

    def finish(self, state: RunState) -> None: ...

    def close(self) -> None: ...


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, which knows that the engine keeps running. Rich would exit with code 1."""
        raise BrokenPipeError


class LinePrinter:
    """Plain lines, at most one step per interval."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._clock = clock
        self._next_step = 0.0
        self._unprinted: ev.Step | None = None  # the newest step that was not printed yet

    def write(self, text: str) -> None:
        self.console.print(Text(text))

    def show(self, event: ev.AnyEvent, state: RunState) -> None:
        if isinstance(event, ev.Step):
            self._unprinted = event
            if event.step == 1 or self._clock() >= self._next_step:
                self._print_step(state)
        elif isinstance(event, ev.TrainingFinished):
            self._print_step(state)  # always print the last step
        elif line := line_of(event):
            self.write(line)

    def _print_step(self, state: RunState) -> None:
        if self._unprinted is None:
            return
        total = state.training.total_steps if state.training else self._unprinted.step
        step = _("step {step}/{total}").format(step=self._unprinted.step, total=total)
        self.write("  ".join([step, *step_facts(state)]))
        self._unprinted = None
        self._next_step = self._clock() + LINE_SECONDS

    def tick(self, state: RunState) -> None: ...

    def finish(self, state: RunState) -> None:
        for part in final_report(state):
            self.console.print(part)

    def close(self) -> None: ...


class LivePrinter(LinePrinter):
    """For a terminal: lines scroll above a progress line that is redrawn in place."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        # Drawn by `tick` alone: an animation thread would write over a slow line twelve times a second.
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._live.start()
        self._spinner = Spinner("dots" if self.console.encoding.startswith("utf") else "line")

    def show(self, event: ev.AnyEvent, state: RunState) -> None:
        if not isinstance(event, ev.Step | ev.StageChanged):
            super().show(event, state)

    def tick(self, state: RunState) -> None:
        if self._live.is_started:
            self._live.update(self._status(state), refresh=True)

    def _status(self, state: RunState) -> RenderableType:
        if state.stage == "training" and state.training and state.step:
            bar = Table.grid(padding=(0, 1))
            total, step = state.training.total_steps, state.step.step
            bar.add_row(ProgressBar(total=total, completed=step, width=24), Text(f"{step}/{total}"))
            return Group(bar, Text("  ".join(step_facts(state)), overflow="ellipsis", no_wrap=True))
        words = STAGE_LINES.get(state.stage, STAGE_LINES["starting"])
        self._spinner.update(text=Text(_(words)))
        return self._spinner

    def close(self) -> None:
        self._live.stop()


def step_facts(state: RunState) -> list[str]:
    """Facts of the newest step: loss, speed, memory, time left."""
    step = state.step
    if step is None:
        return []
    facts = [
        _("loss {loss}").format(loss="nan" if step.loss is None else f"{step.loss:.4f}"),
        *describe_metrics(state.metrics),
        f"lr {step.learning_rate:.3g}",
    ]
    if step.tokens_per_second:
        facts.append(_("{rate} tokens/s").format(rate=f"{step.tokens_per_second:,.0f}"))
    if step.reserved_bytes:
        facts.append(_("memory {size}").format(size=size(step.reserved_bytes)))
    if state.seconds_left is not None:
        facts.append(_("left {time}").format(time=time_left(state.seconds_left)))
    return facts


def line_of(event: ev.AnyEvent) -> str:
    """The line for an event; empty for those that need none. Foreign text in it is sanitised."""
    match event:
        case ev.StageChanged(stage=stage) if stage in STAGE_LINES:
            return _(STAGE_LINES[stage])
        case ev.EngineStarted():
            return line_of(ev.StageChanged(stage="starting"))
        case ev.ModelLoaded():
            return _("Model: {name}, {parameters} parameters, {dtype}{bits}, on {device} ({memory})").format(
                name=visible(event.model_name), parameters=count(event.parameters), dtype=visible(event.dtype),
                bits=_(", 4-bit") if event.load_in_4bit else "", device=visible(event.device.name),
                memory=size(event.device.total_bytes),
            )  # fmt: skip
        case ev.AdapterAdded(trainable_parameters=trained, total_parameters=total) if trained == total:
            return _("All {total} parameters are trained").format(total=count(total))
        case ev.AdapterAdded(trainable_parameters=trained, total_parameters=total):
            return _("Adapter: {trained} of {total} parameters are trained ({share})").format(
                trained=count(trained), total=count(total), share=f"{trained / max(1, total):.2%}"
            )
        case ev.DatasetReady(learned_tokens=0):
            return _("Data: {rows} prompts to answer, {held_out} held out").format(
                rows=event.rows, held_out=event.eval_rows
            )
        case ev.DatasetReady():
            return _("Data: {rows} rows to learn, {held_out} held out; {learned} of {tokens} tokens count").format(
                rows=event.rows, held_out=event.eval_rows,
                learned=f"{event.learned_tokens:,}", tokens=f"{event.tokens:,}",
            )  # fmt: skip
        case ev.TrainingStarted(total_steps=steps, effective_batch_size=batch):
            return _("Training: {steps} steps of {batch} examples").format(steps=steps, batch=batch)
        case ev.Evaluated(step=step, eval_loss=loss):
            return _("step {step}: loss on the held-out rows {loss}").format(step=step, loss=f"{loss:.4f}")
        case ev.CheckpointSaved(step=step):
            return _("Checkpoint saved at step {step}").format(step=step)
        case ev.Notice(message=message, level=level):
            text = visible(render(message))
            return (
                _("Warning: {text}").format(text=text)
                if level == "warning"
                else _("Note: {text}").format(text=text)
            )
        case ev.Exported(path=path, total_bytes=total):
            return _("Exported {path} ({size})").format(path=visible(path), size=size(total))
        case ev.Pushed(url=url):
            return _("Pushed to {url}").format(url=visible(url))
        case ev.PushFailed(repo_id=repo_id, message=message):
            why = _("Not pushed to {repo}: {why}").format(repo=visible(repo_id), why=visible(render(message)))
            return _("Warning: {text}").format(text=why)
    return ""


def final_report(state: RunState) -> list[RenderableType]:
    """The GPU report, the answers before and after training, and where the result is."""
    parts: list[RenderableType] = []
    if state.finished:
        parts += ["", _gpu_report(state.finished)]
    if answers := _answers(state):
        parts += ["", answers]
    if result := state.result:
        words = _("The trained model is in {path}") if state.whole else _("The trained adapter is in {path}")
        parts += ["", Text(words.format(path=visible(result.path)))]
    return parts


def _gpu_report(done: ev.TrainingFinished) -> Table:
    """The GPU report, as in Unsloth's notebooks."""
    table = Table.grid(padding=(0, 2))
    total = done.device.total_bytes

    def amount(used: int) -> str:
        return f"{size(used)} ({used / total:.1%})" if total else size(used)

    rows = [
        (_("Processor") if done.device.kind == "cpu" else _("Card"), visible(done.device.name)),
        (_("Total memory"), size(total)),
        (_("Reserved before training"), amount(done.start_reserved_bytes)),
        (_("Peak reserved"), amount(done.peak_reserved_bytes)),
        (_("For training alone"), amount(done.training_bytes)),
        (_("Training time"), _("{time}, {steps} steps").format(time=duration(done.seconds), steps=done.steps)),
    ]
    if done.train_loss is not None:
        rows.append((_("Mean loss"), f"{done.train_loss:.4f}"))
    for label, value in rows:
        table.add_row(Text(label), Text(value))
    return table


def _answers(state: RunState) -> Table | None:
    """Each test prompt with the answers of the base and the trained model."""
    given: dict[str, dict[bool, str]] = {}
    for answer in state.answers:
        given.setdefault(answer.prompt, {})[answer.adapter] = answer.answer
    if not given:
        return None
    table = Table(show_lines=True)
    for heading in (_("Prompt"), _("Before training"), _("After training")):
        table.add_column(Text(heading), ratio=1 if heading == _("Prompt") else 2, overflow="fold")
    for prompt, answers in given.items():
        table.add_row(*(Text(visible(text)) for text in (prompt, answers.get(False, ""), answers.get(True, ""))))
    return table
