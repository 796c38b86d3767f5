"""A multi-line editor; the arrow keys leave it at its first and last line."""

from textual.widgets import TextArea

from tui.widgets.editors import Edited


class TextBlock(TextArea):
    """Plain text: a template with placeholders, or several prompts, one per line."""

    DEFAULT_CSS = """
    TextBlock.-textual-compact { height: 4; padding: 0 1; background: $surface; }
    TextBlock.-textual-compact:focus { background: $primary 25%; }
    TextBlock.-tall { height: 12; }
    TextBlock .text-area--cursor-line { background: transparent; }
    """

    def __init__(self, value: str, lines: bool = False, id: str | None = None) -> None:
        """`lines`: the value is a tuple of texts, one per line."""
        self._lines = lines
        super().__init__(value, compact=True, tab_behavior="focus", show_line_numbers=False, id=id)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(Edited(self, self.typed))

    @property
    def typed(self) -> str | tuple[str, ...]:
        """The editor's value."""
        if self._lines:
            return tuple(line for line in self.text.splitlines() if line.strip())
        return self.text

    def put(self, value: str) -> None:
        """Set the text, as if it had been typed."""
        self.text = value

    def action_cursor_up(self, select: bool = False) -> None:
        if self.cursor_at_first_line and not select:
            self.screen.focus_previous()
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.cursor_at_last_line and not select:
            self.screen.focus_next()
        else:
            super().action_cursor_down(select)
