"""The resume dialog: the checkpoint, the settings that can be changed, and why the others cannot."""

from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.config.change import Change, apply_changes
from engine.config.fields import FieldError, field_info
from engine.config.resume_rules import changeable_fields, resume_errors, why_fixed
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from tui.dialogs.ask import LineDialog
from tui.dialogs.modal import Modal
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.text.values import describe_value
from tui.widgets.list_box import ListBox

GO = "go"
# The settings to show among those that can change: those that matter for resuming.
SECTIONS = ("training", "model", "lora")
HIDDEN = ("training.report_to", "training.output_dir")
FIXED = (
    (N_("Model"), "model.model_name"),
    (N_("LoRA"), "lora.r"),
    (N_("Dataset"), "dataset.path"),
    (N_("Optimizer and the rest"), "training.learning_rate"),
)


def resume_point(step: int, last_step: int, total: int) -> str:
    """Where training resumes. `step`: of the newest complete checkpoint, or 0; `last_step`: the last that ran."""
    if not step:
        return _("There is no complete checkpoint: it starts again from the first step.")
    words = _("It resumes from the complete checkpoint of step {step} of {total}.").format(step=step, total=total)
    if last_step > step:
        words += " " + _("The {count} steps after that are done again.").format(count=last_step - step)
    return words


class ResumeDialog(Modal[tuple[Change, ...]]):
    """The result is the user's changes; None when cancelled.

    `run`: its title, sanitized. `epochs`: how often it has gone through its rows at `step`; 0 if not known.
    """

    DEFAULT_CSS = """
    ResumeDialog > Vertical { width: 90; }
    ResumeDialog ListBox.-textual-compact { height: auto; max-height: 50vh; margin: 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "resume", N_("Resume"), show=False)]

    def __init__(self, run: str, spec: RunSpec, step: int, last_step: int, total: int, epochs: float = 0.0) -> None:
        super().__init__()
        self._run, self._spec, self._step, self._epochs = run, spec, step, epochs
        self._where = resume_point(step, last_step, total)
        self._changes: dict[str, str | bool] = {}

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(_("Resume {run}").format(run=self._run), markup=False, classes="title")
            yield Static(self._where, markup=False, classes="note")
            yield ListBox()
            yield Static("", markup=False, classes="error")
            yield Static(_("Enter changes a setting, r resumes, Esc leaves."), markup=False, classes="note")

    def on_mount(self) -> None:
        self._fill()
        self.query_one(ListBox).focus()

    def _fill(self) -> None:
        box = self.query_one(ListBox)
        at = box.highlighted
        box.clear_options()
        go = _("Resume with these settings") if self._changes else _("Resume")
        box.add_option(Option(Content.styled("▶ " + go, "bold"), id=GO))
        box.add_option(Option(Content.styled(_("Can be changed"), "bold $text-primary"), disabled=True))
        for path in (path for path in changeable_fields(SECTIONS) if path not in HIDDEN):
            value = describe_value(self._before(path))
            if path in self._changes:
                value += " → " + describe_value(self._changes[path])
            title = _(field_info(path).title)
            style = "bold" if path in self._changes else ""
            line = Content.assemble("  ", (title, style), (f" ({path})  ", "dim"), (visible(value), style))
            box.add_option(Option(line, id=path))
        box.add_option(Option(Content.styled(_("Stays as it is"), "bold $text-primary"), disabled=True))
        for title, path in FIXED:
            why = why_fixed(path)
            # Without an id, so that Enter does nothing.
            box.add_option(Option(Content.assemble("  ", _(title), ": ", (render(why), "dim"))))
        box.highlighted = at or 0

    def _before(self, path: str) -> Any:
        """The value that the run has now."""
        section, _dot, key = path.partition(".")
        return getattr(getattr(self._spec, section), key)

    def _errors(self) -> list[FieldError]:
        """The errors in the changes."""
        try:
            new = apply_changes(self._spec, self.changes)
        except SpecError as error:
            return error.errors
        return resume_errors(self._spec, new, self._step, self._epochs) if self._step else []

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(Change(field=path, value=value) for path, value in self._changes.items())

    def _show_errors(self) -> bool:
        """Show the errors; returns whether there are any."""
        errors = self._errors()
        shown = self.query_one(".error", Static)
        shown.update(Content("\n".join(f"{one.field}: {visible(render(one.message))}" for one in errors)))
        shown.set_class(bool(errors), "-shown")
        return bool(errors)

    def action_resume(self) -> None:
        if not self._show_errors():
            self.dismiss(self.changes)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_id == GO:
            self.action_resume()
        elif event.option_id:
            self._change(event.option_id)

    @work(exclusive=True, group="change")
    async def _change(self, path: str) -> None:
        info, before = field_info(path), self._before(path)
        now = self._changes.get(path, before)
        typed: str | bool | None
        if info.kind == "bool":
            typed = not now
        else:
            title = f"{_(info.title)} ({path})"
            typed = await self.app.push_screen_wait(LineDialog(title, "" if now is None else str(now)))
        if typed is None:
            return
        if typed == before or typed == str(before):
            self._changes.pop(path, None)
        else:
            self._changes[path] = typed
        self._fill()
        self._show_errors()
