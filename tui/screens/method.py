"""The Method step: how the model learns, and the settings of that method."""

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from engine.config.fields import section_fields
from engine.config.methods import FULL_FINETUNING
from engine.config.presets import shipped_preset
from engine.config.run_spec import SECTIONS
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.messages.message import Message
from tui.dialogs.ask import ConfirmModal
from tui.screens.base import PaletteEntry
from tui.screens.wizard import STEPS, WizardScreen
from tui.state.draft import METHOD, Draft
from tui.text.errors import describe_error
from tui.text.method import CHOICES, MethodChoice, choice_of, describe_choice, describe_method_settings
from tui.text.sanitize import visible
from tui.text.translation import N_, _
from tui.widgets.fold import Fold
from tui.widgets.list_box import ListBox

FIRST_FIELDS = 6  # of a method; the others are folded


class MethodScreen(WizardScreen):
    """A list of methods, all about the highlighted one, and the fields of the chosen one."""

    STEP = "method"
    INTRO = N_("How shall the model learn? Enter chooses a method; the other steps follow it.")
    DEFAULT_CSS = """
    MethodScreen #methods.-textual-compact { height: auto; background: $surface; }
    MethodScreen.-narrow #intro { margin-bottom: 0; }
    MethodScreen #about-method { height: auto; margin: 1 0 0 2; }
    MethodScreen #method-fields { height: auto; margin-top: 1; }
    MethodScreen Field .label { width: 28; }
    MethodScreen Field .error { margin-left: 30; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+t", "demo", N_("Demo"), id="method.demo", tooltip=N_("Load the demo of the method")),
    ]

    def form(self) -> Iterable[Widget]:
        yield ListBox(id="methods")
        yield Static("", markup=False, id="about-method")
        with Vertical(id="method-fields"):
            yield from self._fields()

    def _fields(self) -> Iterable[Widget]:
        """The fields of the chosen method."""
        method = self._chosen.method
        paths = [info.path for info in section_fields(method).values()] if method in SECTIONS else []
        first, others = paths[:FIRST_FIELDS], paths[FIRST_FIELDS:]
        yield from map(self.field, first)
        if others:
            opened = any(self.loris.draft.differs(path) for path in others)
            yield Fold(_("More settings of this method"), *map(self.field, others), opened=opened)

    def begin(self) -> None:
        self._show_list()
        box = self.query_one("#methods", ListBox)
        box.highlighted = list(CHOICES).index(self._chosen.name)

    def first_focus(self) -> Widget | None:
        return self.query_one("#methods")

    def focus_field(self, path: str) -> None:
        if path == METHOD:
            self.query_one("#methods").focus()
        else:
            super().focus_field(path)

    # The list

    @property
    def _chosen(self) -> MethodChoice:
        draft = self.loris.draft
        return choice_of(str(draft[METHOD]), draft[FULL_FINETUNING] is True)

    @property
    def _highlighted(self) -> MethodChoice:
        at = self.query_one("#methods", ListBox).highlighted
        return self._chosen if at is None else list(CHOICES.values())[at]

    def _show_list(self) -> None:
        """The methods; a sign marks the chosen one."""
        box = self.query_one("#methods", ListBox)
        at = box.highlighted
        box.clear_options()
        box.add_options([_row(choice, choice == self._chosen) for choice in CHOICES.values()])
        box.highlighted = at

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one("#about-method", Static).update(self.explanation())

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        choice = list(CHOICES.values())[event.option_index]
        if choice == self._chosen:
            return
        draft = self.loris.draft
        self.flush_edits()
        draft[METHOD], draft[FULL_FINETUNING] = choice.method, choice.full_finetuning
        self._show_list()
        with self.app.batch_update():
            fields = self.query_one("#method-fields")
            await fields.remove_children()
            await fields.mount_all(self._fields())
        self.check()

    def explanation(self) -> Content:
        choice = self._highlighted
        demo = shipped_preset(choice.preset)
        words = _("Ctrl+T loads {name}: ready to start, on a tiny model").format(name=choice.preset)
        return describe_choice(choice, words if demo.is_file() else "")

    def hint(self) -> str:
        """What the chosen method changes in other steps."""
        draft = self.loris.draft
        lines = describe_method_settings(draft.__getitem__, self._chosen)
        if draft[FULL_FINETUNING] is True and not self._chosen.full_finetuning:
            lines.insert(0, _("The whole model is trained, as set on the Model step."))
        return visible("\n".join(lines)) or super().hint()

    def checked(self, errors: dict[str, Message]) -> None:
        self.show_help()

    # The demo, and the engine

    def action_demo(self) -> None:
        """Replace the draft by the demo of the highlighted method."""
        choice = self._highlighted
        path = shipped_preset(choice.preset)
        if not path.is_file():
            self.notify(_("There is no demo of this method yet."), severity="warning")
            return
        if not self.loris.draft.changed:
            self._load(choice)
            return
        asked = ConfirmModal(
            _("Load the demo?"),
            _("It replaces what you have filled in so far. Ctrl+S saves that as a preset first."),
            _("Load it"),
            _("Keep mine"),
        )
        self.app.push_screen(asked, lambda agreed: self._load(choice) if agreed else None)

    def _load(self, choice: MethodChoice) -> None:
        try:
            spec = load_spec(shipped_preset(choice.preset))
        except SpecError as error:
            self.notify(visible(describe_error(error)), severity="error", markup=False)
            return
        self.loris.open_draft(Draft(spec), "review")

    def leave(self, to: str) -> None:
        """An engine that loads the model already starts again if the method loads it in another way."""
        super().leave(to)
        session = self.loris.session
        if to in STEPS and session.warm and session.warm_model != self.loris.draft.model():
            self.loris.warm_up()

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        yield _("method: load its demo"), _("Load the demo of the method"), self.action_demo


def _row(choice: MethodChoice, chosen: bool) -> Content:
    """One line of the list; the sign shows the chosen method without colour."""
    return Content.assemble(("● " if chosen else "○ ", "bold"), (_(choice.title), "bold" if chosen else ""))
