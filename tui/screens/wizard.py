"""The base of the wizard's screens: the steps, a form made from the spec's fields, help, keys."""

from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Footer, Static

from engine.config.fields import FieldInfo, field_info
from engine.config.methods import METHODS
from engine.config.run_spec import ModelSpec
from engine.messages.message import Message
from tui.dialogs.ask import ChooseDialog
from tui.dialogs.save_preset import SavePresetDialog
from tui.dialogs.show import HelpDialog
from tui.screens.base import LorisScreen, PaletteEntry, RunChanged
from tui.state.draft import METHOD
from tui.state.run_session import RunSession
from tui.text.translation import N_, _, render
from tui.widgets.field import Field, field_id
from tui.widgets.fold import Fold
from tui.widgets.help_pane import HelpLines, HelpPane, help_content
from tui.widgets.steps import StepLine, Steps, WizardStep
from tui.widgets.top_bar import TopBar

STEPS = {
    "model": N_("Model"),
    "method": N_("Method"),
    "dataset": N_("Dataset"),
    "lora": N_("LoRA"),
    "training": N_("Train"),
    "review": N_("Review"),
}
DEBOUNCE_SECONDS = 0.5  # without a keystroke, before the disk is checked
# Function keys arrive over SSH and in tmux, unlike many Alt and Ctrl keys. F1 is the help, F7 the proof.
KEY_OF_STEP = dict(zip(STEPS, ("f2", "f3", "f4", "f5", "f6", "f8"), strict=True))
STEP_KEYS = [
    Binding(key, f"step('{name}')", STEPS[name], show=False, id=f"step.{name}") for name, key in KEY_OF_STEP.items()
]
# Fields on another step than the one named like their section.
MOVED = {"training.output_dir": "review", METHOD: "method"}


def step_of(path: str) -> str:
    """The step that has a field; the run's name and the settings of its end are on the review."""
    section = path.partition(".")[0]
    if section in METHODS:
        return "method"
    return MOVED.get(path, section if section in STEPS else "review")


ENGINE_STAGES = {
    "starting": N_("engine: starting …"),
    "loading": N_("engine: loading the model …"),
    "ready": N_("engine: ready"),
}


class Form(VerticalScroll, inherit_bindings=False):
    """Scrolls to the focused field. The arrow keys move between fields, even when the form could scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]


class WizardScreen(LorisScreen):
    """One step. `FIELDS` are shown, `FOLDS` are (title, fields), folded at first."""

    STEP: ClassVar[str] = ""
    INTRO: ClassVar[str] = ""
    FIELDS: ClassVar[tuple[str, ...]] = ()
    FOLDS: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()

    AUTO_FOCUS = ""  # `on_mount` chooses
    _debounce: Timer | None = None
    DEFAULT_CSS = """
    WizardScreen #body { height: 1fr; }
    WizardScreen #form { width: 1fr; height: 1fr; padding: 0 1; }
    WizardScreen #intro { color: $text-muted; height: auto; margin-bottom: 1; }
    WizardScreen .note { color: $text-muted; height: auto; margin: 1 0 0 2; }
    WizardScreen Steps.-column, WizardScreen HelpPane { display: none; }
    WizardScreen.-wide Steps.-column, WizardScreen.-wide HelpPane { display: block; }
    WizardScreen.-wide > Steps, WizardScreen.-wide HelpLines { display: none; }
    WizardScreen.-wide #form { padding: 1 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "next", N_("Next"), id="wizard.next", tooltip=N_("Go to the next step")),
        Binding("escape", "back", N_("Back"), id="wizard.back", tooltip=N_("The previous step; nothing is lost")),
        Binding("f1", "help", N_("Help"), id="wizard.help", tooltip=N_("All about the field in focus")),
        Binding(
            "f2",
            "step('model')",
            N_("Any step"),
            key_display="F2-F8",
            id="step.model",
            tooltip=N_("Go to any step"),
        ),
        *STEP_KEYS[1:],
        Binding("f7", "proof", N_("Proof"), show=False, id="wizard.proof", tooltip=N_("What the data teaches")),
        Binding("ctrl+s", "save_preset", N_("Save preset"), show=False, id="preset.save"),
        Binding("up", "app.focus_previous", N_("Previous field"), show=False),
        Binding("down", "app.focus_next", N_("Next field"), show=False),
    ]

    # Layout

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Steps(self._steps({}), column=False)
        with Horizontal(id="body"):
            yield Steps(self._steps({}), column=True)
            with Form(id="form", can_focus=False):
                yield Static(_(self.INTRO), markup=False, id="intro")
                yield from self.form()
            yield HelpPane()
        yield HelpLines()
        yield Footer(compact=True)

    def form(self) -> Iterable[Widget]:
        """The widgets of the form, after the introduction."""
        for path in self.FIELDS:
            yield from self.widgets_for(path)
        for number, (title, paths) in enumerate(self.FOLDS):
            opened = any(self.loris.draft.differs(path) for path in paths)
            widgets = [widget for path in paths for widget in self.widgets_for(path)]
            yield Fold(_(title), *widgets, opened=opened, id=f"fold-{number}")

    def widgets_for(self, path: str) -> Iterable[Widget]:
        """The field, after any widgets that belong before it."""
        yield self.field(path)

    def field(self, path: str) -> Field:
        """The field of the draft at a dotted path."""
        return Field(field_info(path), self.loris.draft.as_typed(path))

    def on_mount(self) -> None:
        self.check()
        if self.wanted_field:
            self.focus_field(self.wanted_field)
        else:
            self.set_focus(self.first_focus())
        self.begin()

    def first_focus(self) -> Widget | None:
        """What has the focus when the step is shown."""
        fields = self.query(Field)
        return fields.first().editor if fields else None

    def begin(self) -> None:
        """Called once the form is mounted. (Textual would call the `on_mount` of every base class.)"""

    def focus_field(self, path: str) -> None:
        """Focus a field, opening its fold."""
        for field in self.query(Field):
            if field.info.path == path:
                for parent in field.ancestors:
                    if isinstance(parent, Fold):
                        parent.set_open(True)
                self.call_after_refresh(field.editor.focus)

    def field_at(self, path: str) -> Field:
        """The field of this screen at a dotted path."""
        return self.query_one(f"#{field_id(path)}", Field)

    # The draft

    def on_field_changed(self, event: Field.Changed) -> None:
        event.stop()
        path = event.field.info.path
        if self.loris.draft.as_typed(path) != event.value:
            self.loris.draft[path] = event.value
            self.edited(path)
            self.check()

    def leave(self, to: str) -> None:
        self.flush_edits()

    def flush_edits(self) -> None:
        """Copy the editors' values into the draft: a `Changed` message may not have arrived yet."""
        for field in self.query(Field):
            if field.value != field.reported:
                self.loris.draft[field.info.path] = field.value

    def edited(self, path: str) -> None:
        """Called after the user changed a field."""

    def check_disk_soon(self) -> None:
        """Call `check_disk` after `DEBOUNCE_SECONDS` without an edit."""
        if self._debounce:
            self._debounce.stop()
        self._debounce = self.set_timer(DEBOUNCE_SECONDS, self.check_disk)

    def check_disk(self) -> None:
        """Check the values against the disk, then call `show_preflight_errors`."""

    def check(self) -> None:
        """Show errors, differences from the preset, and the state of each step."""
        draft = self.loris.draft
        errors = draft.errors()
        for field in self.query(Field):
            path = field.info.path
            if not draft.is_typed(path):
                field.follow(draft.as_typed(path))
            field.show_state(render(errors[path]) if path in errors else "", draft.differs(path))
        for fold in self.query(Fold):
            wrong = sum(f.info.path in errors for f in fold.query(Field))
            fold.set_note(_("({count} to correct)").format(count=wrong) if wrong else "")
        for steps in self.query(Steps):
            steps.show(self._steps(errors))
        self.checked(errors)
        self._show_engine()

    def checked(self, errors: dict[str, Message]) -> None:
        """Called after each check, to update what is derived from the values."""

    def show_preflight_errors(self, found: dict[str, Message], among: Iterable[str]) -> None:
        """Replace the preflight's errors for the fields in `among` with `found`."""
        blamed = self.loris.draft.reported_errors
        for path in among:
            blamed.pop(path, None)
        blamed.update(found)
        self.check()

    def _steps(self, errors: dict[str, Message]) -> list[WizardStep]:
        wrong = [step_of(path) for path in errors]
        return [
            WizardStep(name, title, KEY_OF_STEP[name].upper(), name == self.STEP, wrong.count(name))
            for name, title in STEPS.items()
        ]

    def _show_engine(self) -> None:
        if not self.is_attached:
            return  # a message that came after the screen was closed
        draft = self.loris.draft
        where = draft.preset.name or _("from scratch")
        if draft.changed:
            where = _("{preset} (changed)").format(preset=where)
        words, tone = describe_engine(self.loris.session, draft.model())
        self.query_one(TopBar).show(where, words, tone)

    def on_run_changed(self, event: RunChanged) -> None:
        self._show_engine()

    # Help

    def _focused_info(self) -> FieldInfo | None:
        if self.focused is not None:
            for node in self.focused.ancestors_with_self:
                if isinstance(node, Field):
                    return msgspec.structs.replace(node.info, default=self.loris.draft.usual(node.info.path))
        return None

    def explanation(self) -> Content:
        """What the help explains while no field has the focus."""
        return Content(_(self.INTRO))

    def hint(self) -> str:
        """What the help says next to the form while no field has the focus."""
        return _("↑ ↓ or Tab moves, Enter opens or presses, F2 to F8 go to a step. Nothing is lost on the way.")

    def show_help(self) -> None:
        """Explain what has the focus."""
        info = self._focused_info()
        self.query_one(HelpPane).show(help_content(info) if info else Content(self.hint()))
        self.query_one(HelpLines).show(info, self.hint())

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.show_help()

    def action_help(self) -> None:
        info = self._focused_info()
        content = help_content(info) if info else self.explanation()
        keys = [
            ("↑ ↓ Tab", _("from field to field")),
            ("← → Space", _("choose a value, switch on or off")),
            ("Enter", _("open suggestions, or go to the next field")),
            ("F2-F8", _("go to any step, F7 to the proof; nothing is lost")),
            *(
                (self.app.get_key_display(active.binding), active.tooltip)
                for active in self.active_bindings.values()
                if active.binding.show and active.tooltip and active.binding.key not in ("f1", "f2")
            ),
        ]
        self.app.push_screen(HelpDialog(content, keys))

    # Navigation

    def action_next(self) -> None:
        names = list(STEPS)
        self.loris.go(names[min(names.index(self.STEP) + 1, len(names) - 1)])

    def action_back(self) -> None:
        names = ["home", *STEPS]
        self.loris.go(names[names.index(self.STEP) - 1])

    def action_proof(self) -> None:
        self.loris.go("proof")

    def action_step(self, name: str) -> None:
        if name != self.STEP:
            self.loris.go(name)

    def on_step_line_clicked(self, event: StepLine.Clicked) -> None:
        self.action_step(event.name)

    def on_field_asked(self, event: Field.Asked) -> None:
        event.stop()
        field = event.field
        if not field.suggestions:
            self.focus_next()
            return

        def apply(chosen: str | None) -> None:
            if chosen is not None:
                field.put(chosen)

        current = str(self.loris.draft.as_typed(field.info.path))
        self.app.push_screen(ChooseDialog(_(field.info.title), field.suggestions, current), apply)

    def action_save_preset(self) -> None:
        self.flush_edits()

        def saved(name: str | None) -> None:
            if name:
                self.notify(_('Saved as preset "{name}".').format(name=name), markup=False)
                self.check()

        dialog = SavePresetDialog.of(self.loris.draft)
        if dialog is None:
            self.notify(_("Correct the fields marked ✗ first."), severity="error")
        else:
            self.app.push_screen(dialog, saved)

    def commands(self) -> Iterable[PaletteEntry]:
        save: Callable[[], object] = self.action_save_preset
        yield _("preset: save"), _("Keep these settings under a name"), save


def describe_engine(session: RunSession, wanted: ModelSpec | None) -> tuple[str, str]:
    """(text, tone), tone "", "ready" or "failed"; no text unless an engine was started early."""
    if not session.warm:
        return "", ""
    if session.warm_model != wanted:
        return _("engine: has another model"), ""
    if session.state.failed:
        return _("engine: failed: {why}").format(why=render(session.state.failed.message)), "failed"
    if session.state.ended or session.lost:
        return _("engine: ended by itself"), "failed"
    return _(ENGINE_STAGES.get(session.state.stage, "")), "ready" if session.state.stage == "ready" else ""
