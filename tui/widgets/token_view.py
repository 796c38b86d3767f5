"""An example as found, as text, and token by token with what is learned marked, in colour and without."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.spec.report import ProvenRow, TokenView
from tui.i18n import _, render
from tui.safe import visible

# Around what is learned, so that it can be told without colour.
OPEN, CLOSE = "⟦", "⟧"
ASCII_OPEN, ASCII_CLOSE = "[[", "]]"
Part = tuple[str, str]


class ExampleView(VerticalScroll, can_focus=True):
    """One row at a time."""

    DEFAULT_CSS = """
    ExampleView { padding: 0 1; }
    ExampleView Static { height: auto; }
    """

    def __init__(self, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = (OPEN, CLOSE) if unicode else (ASCII_OPEN, ASCII_CLOSE)
        self._body = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self._body

    def show(self, row: ProvenRow) -> None:
        """Show this row from its start."""
        parts: list[Part] = []
        if row.error:
            parts += [("✗ " + visible(render(row.error)) + "\n\n", "bold $text-error")]
        if row.tokens:
            parts += [
                (_("As it is learned; what counts stands in {marks}").format(marks="".join(self._marks)), "bold")
            ]
            parts += [("\n", ""), *learned_parts(row.tokens, self._marks), ("\n\n", "")]
        parts += [(_("As found") + "\n", "bold"), (visible(row.raw), "$text-muted")]
        self._body.update(Content.assemble(*parts))
        self.scroll_home(animate=False)


def learned_parts(tokens: tuple[TokenView, ...], marks: tuple[str, str]) -> list[Part]:
    """The tokens one after the other. Special ones are underlined; learned runs are bold and between marks."""
    parts: list[Part] = []
    learning = False
    for token in tokens:
        if token.learned != learning:
            parts.append((marks[0] if token.learned else marks[1], "bold $text-warning"))
            learning = token.learned
        style = "bold $text-success" if token.learned else "$text-muted"
        parts.append((visible(token.text), f"{style} underline" if token.special else style))
    if learning:
        parts.append((marks[1], "bold $text-warning"))
    return parts
