"""A list that shows foreign text literally and whose ends the arrow keys can leave."""

from textual.widgets import OptionList


class ListBox(OptionList):
    """Options are `Content`, never markup."""

    DEFAULT_CSS = """
    ListBox.-textual-compact { background: transparent; height: auto; }
    ListBox.-textual-compact:focus { background-tint: $foreground 0%; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)

    def action_cursor_up(self) -> None:
        before = self.highlighted
        super().action_cursor_up()
        if before is None or (self.highlighted is not None and self.highlighted >= before):
            self.highlighted = before
            self.screen.focus_previous()

    def action_cursor_down(self) -> None:
        before = self.highlighted
        super().action_cursor_down()
        if before is not None and self.highlighted is not None and self.highlighted <= before:
            self.highlighted = before
            self.screen.focus_next()
