"""Shows the rows of a data file, as found and as they will be learned: foreign text, shown literally."""

import json
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.config.prompt_templates import PLACEHOLDERS, fill
from engine.config.run_spec import DatasetSpec
from engine.dataset.detected import Detected
from engine.dataset.mapping import BadRow, Example
from engine.dataset.peek import Peek
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

LONGEST = 4000  # characters of a row that are shown

Part = tuple[str, str]


class Preview(VerticalScroll, can_focus=True):
    """Shows one row: left and right change the row, up and down scroll it."""

    DEFAULT_CSS = """
    Preview { height: 9; padding: 0 1; background: $surface; }
    Preview.-empty { height: auto; background: transparent; }
    Preview Static { height: auto; }
    Preview:focus .head { text-style: bold; color: $text-accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", N_("Next row"), show=False),
        Binding("left", "turn(-1)", N_("Previous row"), show=False),
        Binding("up", "up", show=False),
        Binding("down", "down", show=False),
    ]
    at: reactive[int] = reactive(0, init=False)

    def __init__(self) -> None:
        super().__init__()
        self._head = Static("", markup=False, classes="head")
        self._body = Static("", markup=False)
        self._seen: Peek | None = None
        self._data = DatasetSpec()

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._body

    def show(self, seen: Peek | None, data: DatasetSpec) -> None:
        """Show the rows of `seen`; None for a dataset that is not on this machine."""
        if seen is None or self._seen is None or seen.path != self._seen.path:
            self.set_reactive(Preview.at, 0)
        self._seen, self._data = seen, data
        self._draw()

    def watch_at(self) -> None:
        self._draw()
        self.scroll_home(animate=False)

    def _draw(self) -> None:
        seen = self._seen
        self.set_class(seen is None or not seen.rows, "-empty")
        self.can_focus = bool(seen and seen.rows)
        if seen is None:
            self._head.update(_("The first rows appear once the Hub has sent them."))
            self._body.update("")
            return
        if not seen.rows:
            self._head.update(render(seen.error) if seen.error else _("There are no rows in this file."))
            self._body.update("")
            return
        at = min(self.at, len(seen.rows) - 1)
        template = (
            _("Row {row} of {total} ({format})") if seen.exact else _("Row {row} of about {total} ({format})")
        )
        found = seen.detected
        kind = (
            _("{variant}, {sure:.0%} sure").format(variant=found.variant, sure=found.confidence) if found else "?"
        )
        head = template.format(row=at + 1, total=seen.total, format=kind)
        why = "\n" + visible(render(found.problem.message if found.problem else found.why)) if found else ""
        others = "  " + _("^t other ways") if found and found.alternatives else ""
        self._head.update(head + "  " + _("← → other rows") + others + why)
        self._body.update(Content.assemble(*row_parts(seen.rows[at], self._data, found, at + 1)))

    def action_turn(self, by: int) -> None:
        if self._seen and self._seen.rows:
            self.at = (self.at + by) % len(self._seen.rows)

    def action_up(self) -> None:
        if self.scroll_offset.y > 0:
            self.scroll_up(animate=False)
        else:
            self.screen.focus_previous()

    def action_down(self) -> None:
        if self.scroll_offset.y < self.max_scroll_y:
            self.scroll_down(animate=False)
        else:
            self.screen.focus_next()


def row_parts(row: dict[str, Any], data: DatasetSpec, found: Detected | None, number: int = 1) -> list[Part]:
    """A row as found, then as the text that is learned, if that is known without the model."""
    parts: list[Part] = []
    for column, value in row.items():
        parts += [(f"{visible(str(column))}: ", "dim"), (_short(value) + "\n", "")]
    return [*parts, *learned_parts(row, data, found, number)]


def learned_parts(row: dict[str, Any], data: DatasetSpec, found: Detected | None, number: int = 1) -> list[Part]:
    """A row as it is learned, without what only the tokenizer's template adds."""
    parts: list[Part] = []
    if found is None or found.problem or found.kind == "unknown":
        return parts
    try:
        example = found.mapping.example(row)
    except BadRow as bad:
        return [*parts, ("\n✗ " + visible(render(bad.describe(number))), "$text-error")]
    if found.kind in ("preference", "votes", "prompts"):
        return _answer_parts(example)
    if example.pair and data.written_with != "chat_template":
        text = fill(data.prompt_template, **{name: example.pair.get(name, "") for name in PLACEHOLDERS})
    elif example.text:
        text = example.text
    else:
        # The proof (F7) loads the tokenizer and its template; the turns are known without it.
        text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in example.as_chat())
    parts += [("\n" + _("As it is learned:") + "\n", "bold"), (visible(text[:LONGEST]), "")]
    return [*parts, (" " + _("<end of sequence>"), "dim")]


def _answer_parts(example: Example) -> list[Part]:
    """The prompt, and the answers that are compared, voted on or checked."""
    prompt = "\n".join(f"{turn['role']}: {turn['content']}" for turn in example.as_chat()[:-1])
    parts = [("\n" + _("As it is learned:") + "\n", "bold"), (visible(prompt[:LONGEST]), "")]
    head, style = _("the right answer"), "bold"
    if example.rejected:
        head, style = _("✓ chosen"), "bold $text-success"
    elif example.good is not None:
        head = _("✓ a good answer") if example.good else _("✗ a bad answer")
        style = "bold $text-success" if example.good else "bold $text-error"
    if not example.answer:
        return [*parts, ("\n" + _("The model writes the answer."), "dim")]
    parts += [(f"\n{head}: ", style), (visible(example.answer[:LONGEST]), "")]
    if example.rejected:
        parts += [
            ("\n" + _("✗ rejected") + ": ", "bold $text-error"),
            (visible(example.rejected.answer[:LONGEST]), ""),
        ]
    return parts


def _short(value: Any) -> str:
    """A value in a few lines: turns line by line, text as it is, the rest as JSON."""
    if isinstance(value, str):
        return visible(value[:LONGEST])
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return "".join("\n  " + visible(_turn(turn)[:LONGEST]) for turn in value[:50])
    return visible(json.dumps(value, ensure_ascii=False, default=str)[:LONGEST])


def _turn(turn: dict[str, Any]) -> str:
    who, what = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if isinstance(who, str) and isinstance(what, str):
        return f"{who}: {what}"
    return json.dumps(turn, ensure_ascii=False, default=str)
