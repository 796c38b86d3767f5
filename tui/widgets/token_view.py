"""Shows an example token by token: what is learned and what is masked, in colour and without."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import ClassVar, Literal

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message

from engine.protocol.data_report import ProvenRow, TokenView
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.literal_text import LiteralText

LEARNED, MASKED = "▌ ", "┊ "  # the gutter, for users and terminals without colour
EDGE = "¦"  # between tokens, when edges are shown
View = Literal["tokens", "text", "raw"]
VIEWS: dict[View, str] = {"tokens": N_("tokens"), "text": N_("text"), "raw": N_("raw row")}
Part = tuple[str, str]


def token_lines(tokens: Iterable[TokenView], width: int, edges: bool = False) -> list[Content]:
    """Lines of at most `width` cells, each all learned or all masked, marked in the gutter."""
    lines = []
    for learned, run in groupby(tokens, key=lambda token: token.learned):
        gutter = (LEARNED, "bold $text-success") if learned else (MASKED, "dim")
        lines += [Content.assemble(gutter, *parts) for parts in _wrapped(_pieces(run, edges), width - 2)]
    return lines


def _pieces(run: Iterable[TokenView], edges: bool) -> Iterator[Part]:
    """(text, style) of consecutive tokens. A newline becomes a sign and a line break."""
    for number, token in enumerate(run):
        style = "bold underline $text-success" if token.learned else "$text-muted"
        if token.special:
            style += " reverse"
        elif number % 2:
            style += " on $foreground 12%"
        text = visible(token.text).replace("\t", "⇥").replace("\n", "↵\n")
        if text:
            yield text, style
            if edges:
                yield EDGE, "$text-accent"


def _wrapped(pieces: Iterable[Part], width: int) -> Iterator[list[Part]]:
    line: list[Part] = []
    room = width
    for text, style in pieces:
        part = ""
        for sign in text:
            cells = cell_len(sign)
            if sign == "\n" or cells > room:
                yield [*line, (part, style)]
                line, part, room = [], "", width
            if sign != "\n":
                part += sign
                room -= cells
        if part:
            line.append((part, style))
    if line:
        yield line


def _measures(row: ProvenRow) -> str:
    """How many tokens a text has, and what becomes of them."""
    words = _("{length} tokens, {learned} learned").format(length=row.length, learned=row.learned)
    if row.pieces > 1:
        words += " · " + _("in {count} pieces").format(count=row.pieces)
    elif row.length > len(row.tokens):
        words += " · " + _("{count} cut off").format(count=row.length - len(row.tokens))
    return words


class TokenPane(VerticalScroll, can_focus=True):
    """One row in one of `VIEWS`. Left and right post `Turned` to request another row."""

    DEFAULT_CSS = """
    TokenPane { padding: 0 1; background: $surface; }
    TokenPane LiteralText { height: auto; }
    TokenPane .head { color: $text-muted; }
    TokenPane:focus .head { text-style: bold; color: $text-accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", N_("Next row"), show=False),
        Binding("left", "turn(-1)", N_("Previous row"), show=False),
    ]

    class Turned(Message):
        """`by`: 1 or -1."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__()
        self._head, self._body = LiteralText(classes="head"), LiteralText()
        self._row: ProvenRow | None = None
        self._position = ""
        self.view: View = "tokens"
        self.edges = False

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._body

    def show(self, row: ProvenRow | None, position: str = "") -> None:
        """`position`: among the examples, such as 3/20."""
        if row != self._row:
            self.scroll_home(animate=False)
        self._row, self._position = row, position
        self.draw()

    def on_resize(self, event: events.Resize) -> None:
        self.draw()

    def draw(self) -> None:
        row = self._row
        if row is None:
            self._head.set_text(_("No row to show."))
            self._body.set_text("")
            return
        self._head.set_text(self._heading(row))
        self._body.set_text(self._content(row))

    def _heading(self, row: ProvenRow) -> Content:
        words = [_("Row {number}").format(number=row.number) + (f" ({self._position})" if self._position else "")]
        if row.rejected:
            words.append(_("a pair, chosen and rejected"))
        elif row.tokens:
            words.append(_measures(row))
        views = " ".join(f"[{_(n)}]" if view == self.view else f" {_(n)} " for view, n in VIEWS.items())
        lines = [" · ".join(words), views]
        if self.view == "tokens":
            lines.append(_("▌ learned   ┊ masked   ↵ line end"))
        return Content("\n".join(lines))

    def _content(self, row: ProvenRow) -> Content:
        error = [(f"✗ {visible(render(row.error))}\n", "$text-error")] if row.error else []
        if self.view == "raw" or (row.error and not row.text):
            return Content.assemble(*error, visible(row.raw))
        if row.rejected is None:
            return Content.assemble(*error, self._side(row))
        sides = ((_("✓ chosen"), "bold $text-success", row), (_("✗ rejected"), "bold $text-error", row.rejected))
        parts = [
            Content.assemble((f"{name} · {_measures(side)}\n", style), self._side(side))
            for name, style, side in sides
        ]
        return Content.assemble(*error, Content("\n\n").join(parts))

    def _side(self, row: ProvenRow) -> Content:
        """The text of a row, or of one side of a pair."""
        if self.view == "text":
            return Content(visible(row.text))
        width = max(10, self.scrollable_content_region.width)
        return Content("\n").join(token_lines(row.tokens, width, self.edges))

    def action_turn(self, by: int) -> None:
        self.post_message(self.Turned(by))
