"""A text that lays out the screen again only when it changes, however often it is set."""

from textual.content import Content
from textual.widgets import Static


class LiteralText(Static):
    """Shows text literally."""

    DEFAULT_CSS = "LiteralText { height: auto; }"

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", markup=False, id=id, classes=classes)
        self._said: str | Content = ""

    def set_text(self, words: str | Content) -> None:
        """Set the text."""
        if words != self._said:
            self._said = words
            self.update(words)
