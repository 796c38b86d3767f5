"""A run's state as texts: its report, notices, data and answers. Foreign text is shown literally.

Each function builds a pane's complete content from the state, so that panes keep nothing.
"""

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.protocol.events import Answered
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder
from tui.text.amounts import GB, count, rate, size
from tui.text.metrics import MOST_IN_A_LINE, in_order, number, title_of
from tui.text.run_states import missing_lines
from tui.text.sanitize import visible
from tui.text.translation import _, render

Part = tuple[str, str]
MUTED = "$foreground-muted"
LONGEST_EXAMPLE = 20_000  # characters of an example that are shown


class FactsPane(VerticalScroll, can_focus=True):
    """A scrollable text. Set it with `show`, which skips an unchanged text."""

    DEFAULT_CSS = """
    FactsPane { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    FactsPane > Static { height: auto; width: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        self._text = Static(markup=False)
        super().__init__(self._text, id=id)
        self._parts: list[Part] = []

    def show(self, parts: list[Part]) -> None:
        """Show these (text, style) parts, joined."""
        if parts != self._parts:
            self._parts = parts
            self._text.update(Content.assemble(*parts))


def _heading(words: str) -> Part:
    return f"{words}\n", "bold"


def _row(label: str, value: str) -> list[Part]:
    return [(f"{label}  ", MUTED), (f"{value}\n", "")]


def report_parts(state: RunState, folder: RunFolder | None = None) -> list[Part]:
    """The notebooks' GPU report, after training, and what is missing of what the spec asks for."""
    done = state.finished
    if done is None:
        return [(_("The report appears here when training has finished."), MUTED)]
    total = max(1, done.device.total_bytes)
    cpu = done.device.kind == "cpu"

    def amount(used: int) -> str:
        return f"{used / GB:.3f} GB ({used / total:.1%})"

    stopped = done.outcome == "stopped"
    parts: list[Part] = [
        (_("Stopped early. The model was kept.") if stopped else _("Training is complete."), "bold $success"),
        ("\n", ""),
    ]
    if state.stage in ("serving", "ended") and folder:
        for line in missing_lines(state.undelivered, folder.name):
            parts += [("! ", "bold $warning"), (line + "\n", "")]
    if state.trained:
        parts += [(_("Next: c to chat with it and compare, s to export it.") + "\n", "bold")]
    parts += _row(_("Card") if not cpu else _("Processor"), visible(done.device.name))
    if done.device.count > 1:
        parts += _row(_("Cards"), str(done.device.count))
    parts += _row(_("Total memory"), f"{done.device.total_bytes / GB:.3f} GB")
    parts += _row(_("Reserved before training"), amount(done.start_reserved_bytes))
    parts += _row(_("Peak reserved"), amount(done.peak_reserved_bytes))
    parts += _row(_("For training alone"), amount(done.training_bytes))
    time = _("{minutes} minutes ({seconds} s), {steps} steps").format(
        minutes=f"{done.seconds / 60:.2f}", seconds=f"{done.seconds:.1f}", steps=done.steps
    )
    parts += _row(_("Training time"), time)
    if done.train_loss is not None:
        parts += _row(_("Mean loss"), f"{done.train_loss:.4f}")
    if result := state.result:
        title = _("Model") if state.whole else _("Adapter")
        parts += _row(title, f"{visible(result.path)} ({size(result.total_bytes)})")
    return parts


def run_parts(state: RunState, folder: RunFolder | None) -> list[Part]:
    """Model, adapter, data, versions and paths."""
    parts: list[Part] = []
    if model := state.model:
        bits = _("4-bit") if model.load_in_4bit else model.dtype
        parts += _row(_("Model"), f"{visible(model.model_name)} ({count(model.parameters)}, {bits})")
        parts += _row(_("Device"), visible(model.device.name))
    if adapter := state.adapter:
        share = f"{adapter.trainable_parameters / max(1, adapter.total_parameters):.2%}"
        trained = _("{count} of {total} ({share})").format(
            count=count(adapter.trainable_parameters), total=count(adapter.total_parameters), share=share
        )
        parts += _row(_("Trained weights"), trained)
    if training := state.training:
        parts += _row(_("Optimizer"), visible(training.optim))
        parts += _row(_("Examples per step"), str(training.effective_batch_size))
    if state.step:
        parts += _row(_("Learning rate"), f"{state.step.learning_rate:.3g}")
        parts += _row(_("Epoch"), f"{state.step.epoch:.2f}")
        if state.step.grad_norm is not None:
            parts += _row(_("Gradient norm"), f"{state.step.grad_norm:.3g}")
    for key in in_order(state.metrics)[:MOST_IN_A_LINE]:
        parts += _row(title_of(key), number(state.metrics[key]))
    if state.checkpoint:
        parts += _row(_("Last checkpoint"), visible(state.checkpoint.path))
    if folder:
        parts += _row(_("Run folder"), visible(str(folder.path)))
    if state.started:
        versions = ", ".join(f"{name} {version}" for name, version in state.started.versions.items())
        parts += _row(_("Versions"), visible(versions))
    return parts or [(_("Nothing yet: the engine is starting."), MUTED)]


def notice_parts(state: RunState) -> list[Part]:
    """Settings that the engine replaced, and its warnings."""
    if not state.notices:
        return [(_("No notices. If the engine replaces a setting, it says so here."), MUTED)]
    parts: list[Part] = []
    for notice in state.notices:
        mark = ("! ", "bold $warning") if notice.level == "warning" else ("· ", "")
        parts += [mark, (visible(render(notice.message)) + "\n", "")]
    return parts


def data_parts(state: RunState) -> list[Part]:
    """The first example as found, as text, and its learned part."""
    data = state.dataset
    if data is None:
        return [(_("The first example appears here when the data is ready."), MUTED)]
    share = f"{data.learned_tokens / max(1, data.tokens):.0%}"
    parts = _row(
        _("Rows"), _("{rows} to learn, {held_out} held out").format(rows=data.rows, held_out=data.eval_rows)
    )
    parts += _row(
        _("Tokens"),
        _("{tokens}, of which {learned} ({share}) count in the loss").format(
            tokens=f"{data.tokens:,}", learned=f"{data.learned_tokens:,}", share=share
        ),
    )
    if data.truncated_rows:
        parts += [
            ("! ", "bold $warning"),
            (_("{rows} rows were too long and were cut.").format(rows=data.truncated_rows) + "\n", ""),
        ]
    if data.instruction_part:
        markers = f"{data.instruction_part!r} … {data.response_part!r}"
        parts += _row(_("Markers"), visible(markers))
    for title, text in (
        (_("1. As found"), data.example_raw),
        (_("2. As the model reads it"), data.example_text),
        (_("3. What is learned (the decoded labels)"), data.example_learned),
    ):
        parts += [("\n", ""), _heading(title), (visible(text[:LONGEST_EXAMPLE]).rstrip("\n") + "\n", "")]
    return parts


def answer_parts(state: RunState) -> list[Part]:
    """The test prompts with their answers before and after training."""
    if not state.answers:
        return [(_("Answers to the test prompts appear here, before and after training."), MUTED)]
    parts: list[Part] = []
    for prompt in dict.fromkeys(answer.prompt for answer in state.answers):
        parts += [_heading("» " + visible(prompt))]
        for adapter, title in ((False, _("before")), (True, _("after"))):
            given = [a for a in state.answers if a.prompt == prompt and a.adapter is adapter and a.step is None]
            if adapter:
                parts += _at_checkpoints(prompt, state.answers)
            if given:
                parts += _answer(title, given[-1], "$success" if adapter else "$warning")
        parts += [("\n", "")]
    return parts


def _at_checkpoints(prompt: str, answers: list[Answered]) -> list[Part]:
    """One line per checkpoint with its answer, to pick the best."""
    at = {a.step: a for a in answers if a.prompt == prompt and a.step is not None}
    width = max((len(str(step)) for step in at), default=0)
    parts: list[Part] = []
    for step, answer in sorted(at.items()):
        said = " ".join(visible(answer.answer).split())
        parts += [(_("step {step}").format(step=f"{step:>{width}}"), "bold"), (f" │ {said}\n", "")]
    return parts


def _answer(title: str, answer: Answered, tone: str) -> list[Part]:
    how = ", ".join(
        part
        for part in (
            _("{count} tokens").format(count=answer.tokens),
            rate(answer.tokens, answer.seconds),
            _("cut at {count} tokens").format(count=answer.tokens) if answer.finish_reason == "length" else "",
        )
        if part
    )
    return [
        (title, f"bold {tone}"), (f"  ({how})\n", MUTED), (visible(answer.answer).strip() + "\n", ""),
    ]  # fmt: skip
