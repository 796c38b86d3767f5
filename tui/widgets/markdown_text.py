"""Markdown of a model: its layout is shown, and nothing in it is obeyed. Grows by what was added."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from textual.widgets import Markdown

from tui.text.sanitize import visible


def _keep_lines(state: StateCore) -> None:
    """Models mean a new line by a new line, as in a poem; Markdown would join them."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


def parser() -> MarkdownIt:
    """No HTML: `<think>` and `List<int>` are text. Addresses stay text, too."""
    made = MarkdownIt("gfm-like", {"html": False, "linkify": False}).disable(["html_block", "html_inline"])
    made.core.ruler.push("keep_lines", _keep_lines)
    return made


class MarkdownText(Markdown):
    """Call `show` with the whole text as often as it grew."""

    DEFAULT_CSS = """
    MarkdownText { height: auto; width: 1fr; padding: 0 0 0 2; }
    MarkdownText > MarkdownBlock:last-child { margin-bottom: 0; }
    """

    def __init__(self) -> None:
        super().__init__(parser_factory=parser, open_links=False)
        self._shown = ""

    async def show(self, text: str) -> None:
        """Show this text; what is on the screen already is not laid out again."""
        text = visible(text)
        if text == self._shown:
            return
        grown, before = text.startswith(self._shown), self._shown
        self._shown = text
        if grown and before:
            await self.append(text[len(before) :])
        else:
            await self.update(text)
