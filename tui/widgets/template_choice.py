"""Chooses one of Loris's prompt templates."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from engine.config.prompt_templates import PROMPT_TEMPLATES
from tui.text.translation import _
from tui.widgets.editors import ChoiceEditor, Edited

OWN = "own"


class TemplateChoice(Horizontal):
    """Looks like a field. Posts `TemplateChosen`; `show` sets the text in use."""

    DEFAULT_CSS = """
    TemplateChoice { height: 1; margin-top: 1; }
    TemplateChoice Static { width: 26; padding-left: 2; }
    TemplateChoice:focus-within Static { text-style: bold; color: $text-accent; }
    """

    class TemplateChosen(Message):
        """`name`: a key of `PROMPT_TEMPLATES`."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, text: str) -> None:
        super().__init__()
        self._editor = ChoiceEditor((*PROMPT_TEMPLATES, OWN), _name_of(text))

    def compose(self) -> ComposeResult:
        yield Static(_("Use a prompt template"), markup=False)
        yield self._editor

    def show(self, text: str) -> None:
        """Mark the template with this text, if it is one of Loris's."""
        self._editor.value = _name_of(text)

    def on_edited(self, event: Edited) -> None:
        event.stop()
        if event.value != OWN:
            self.post_message(self.TemplateChosen(event.value))


def _name_of(text: str) -> str:
    return next((name for name, known in PROMPT_TEMPLATES.items() if known == text), OWN)
