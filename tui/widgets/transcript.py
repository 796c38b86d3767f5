"""A conversation: questions, and below each one answer, or two side by side."""

import asyncio

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Markdown, Static

from tui.state.chat_turns import Speaker
from tui.state.run_session import Answer, Turn
from tui.text.sanitize import visible


def _keep_lines(state: StateCore) -> None:
    """Keep single newlines of models, as in a poem; Markdown would join the lines."""
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


def parser() -> MarkdownIt:
    """No HTML: `<think>` and `List<int>` are text. No links either."""
    made = MarkdownIt("gfm-like", {"html": False, "linkify": False}).disable(["html_block", "html_inline"])
    made.core.ruler.push("keep_lines", _keep_lines)
    return made


class MarkdownText(Markdown):
    """A model's Markdown: laid out, with no links and no HTML. Call `show` whenever it grows."""

    DEFAULT_CSS = """
    MarkdownText { height: auto; width: 1fr; padding: 0 0 0 2; }
    MarkdownText > MarkdownBlock:last-child { margin-bottom: 0; }
    """

    def __init__(self) -> None:
        super().__init__(parser_factory=parser, open_links=False)
        self._shown = ""
        self._one_at_a_time = (
            asyncio.Lock()
        )  # Textual loses lines when it is asked to append before it has finished

    async def show(self, text: str) -> None:
        """Show this text; the unchanged part is not laid out again."""
        text = visible(text)
        async with self._one_at_a_time:
            if text == self._shown:
                return
            if self._shown and text.startswith(self._shown):
                await self.append(text[len(self._shown) :])
            else:
                await self.update(text)
            self._shown = text


class AnswerView(Widget):
    """One answer, under its model's name and a note on it. Call `refresh_text` when it grows."""

    DEFAULT_CSS = """
    AnswerView { height: auto; width: 1fr; layout: vertical; }
    AnswerView Static { height: auto; width: 1fr; }
    AnswerView .who { text-style: bold; color: $text-warning; }
    AnswerView.-adapter .who { color: $text-success; }
    AnswerView .warning { color: $text-warning; padding: 0 0 0 2; display: none; }
    AnswerView .warning.-shown { display: block; }
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(classes="-adapter" if answer.adapter else "")
        self.answer = answer
        self._who = Static(markup=False, classes="who")
        self._said = MarkdownText()
        self._warning = Static(markup=False, classes="warning")
        self._shown = ("", "")

    def compose(self) -> ComposeResult:
        yield self._who
        yield self._said
        yield self._warning

    async def on_mount(self) -> None:
        await self.refresh_text()

    async def refresh_text(self) -> None:
        """Show the answer's current text, unless it is shown already."""
        answer = self.answer
        if (answer.text, answer.note) == self._shown:
            return
        text = answer.text  # it may grow during the await
        who = visible(answer.title or Speaker(answer.adapter, answer.other).name)
        note = visible(answer.note)
        if answer.note != self._shown[1] or not self._shown[1]:
            tone = "$text-error" if answer.failed else "not bold $foreground-muted"
            mark = "✗ " if answer.failed else ""
            self._who.update(Content.assemble(who, ("  " + mark + note, tone)) if note else Content(who))
        if answer.text != self._shown[0]:
            await self._said.show(text)
        self._warning.set_class(bool(answer.warning), "-shown")
        self._warning.update(Content(visible("⚠ " + answer.warning)))
        self._shown = text, answer.note


class TurnView(Widget):
    """A question and its answers."""

    DEFAULT_CSS = """
    TurnView { height: auto; width: 1fr; layout: vertical; margin-bottom: 1; }
    TurnView .question { height: auto; width: 1fr; }
    TurnView .answers { height: auto; width: 1fr; }
    TurnView.-side .answers { layout: horizontal; }
    TurnView.-side AnswerView { margin-right: 2; }
    """

    SIDE_BY_SIDE = 90  # cells needed for two answers side by side

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn

    def on_mount(self) -> None:
        self.call_after_refresh(
            self.on_resize
        )  # the event of the first size can come before the mount, and is lost

    def on_resize(self) -> None:
        self.set_class(self.size.width >= self.SIDE_BY_SIDE, "-side")

    def compose(self) -> ComposeResult:
        extra = f"\n  {self.turn.input}" if self.turn.input else ""
        question = Content.assemble(("» ", "bold"), (visible(self.turn.question), "bold"), visible(extra))
        yield Static(question, markup=False, classes="question")
        with Vertical(classes="answers"):
            for answer in self.turn.answers:
                yield AnswerView(answer)


class Transcript(VerticalScroll, can_focus=True):
    """All turns, scrolled to the newest at the end."""

    DEFAULT_CSS = """
    Transcript { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    Transcript > .empty { color: $text-muted; height: auto; }
    """

    def __init__(self, hint: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hint = hint
        self._follows = True  # follows the end

    def compose(self) -> ComposeResult:
        yield Static(self._hint, markup=False, classes="empty")

    def release_anchor(self) -> None:
        """Called by Textual when the user scrolls: stop following the end."""
        super().release_anchor()
        self._follows = self.max_scroll_y == 0

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value >= self.max_scroll_y:
            self._follows = True

    async def show(self, turns: list[Turn]) -> None:
        """Show this conversation."""
        await self.query(TurnView).remove()
        await self.mount_all([TurnView(turn) for turn in turns])
        self._tidy()

    async def add(self, turn: Turn) -> None:
        """Append a turn."""
        await self.mount(TurnView(turn))
        self._tidy()

    async def refresh_text(self) -> None:
        """Update the answers of the last turn."""
        if views := list(self.query(TurnView)):
            for answer in views[-1].query(AnswerView):
                await answer.refresh_text()
            # A flag, because the scroll position lags behind the text on a busy machine.
            if self._follows:
                self.scroll_end(animate=False)

    def _tidy(self) -> None:
        self.query_one(".empty").display = not self.query(TurnView)
        self._follows = True
        self.scroll_end(animate=False)
