"""The screen of a reward model in place of the chat: scores one answer to a prompt, or two side by side."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static
from textual.worker import Worker

from engine.client.serving import wait_for_engine
from engine.messages.errors import UserError
from engine.protocol.commands import AnyReply, Done, Refused, Score
from tui.screens.base import LorisScreen
from tui.state.run_session import Answer, Turn
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.top_bar import TopBar
from tui.widgets.transcript import Transcript

FIELDS = ("prompt", "answer", "other")


class ScoreScreen(LorisScreen):
    """What was scored is kept in the run session, as the turns of a chat are."""

    CSS = """
    ScoreScreen #state { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    ScoreScreen Input { height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", N_("Back"), id="score.back"),
        Binding("ctrl+l", "clear", N_("Clear"), id="score.clear", tooltip=N_("Forget what was scored")),
        Binding("ctrl+s", "save", N_("Export"), id="score.save", tooltip=N_("Export the model: adapter or merged")),
        Binding("pageup", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._scoring: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Transcript(
            _(
                "A reward model scores answers. Type a prompt and an answer, and another to compare it with; "
                "press Enter. A higher score is better; only the scores of answers to one prompt can be compared."
            ),
            id="transcript",
        )
        yield Static(id="state", markup=False)
        yield Input(id="prompt", placeholder=_("Prompt"))
        yield Input(id="answer", placeholder=_("An answer to it"))
        yield Input(id="other", placeholder=_("Another answer, to compare; may be empty"))
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        session = self.loris.session
        model = session.spec.model.model_name if session.spec else ""
        self.query_one(TopBar).show(_("Scores") + (f" · {model}" if model else ""), "", "")
        await self.query_one(Transcript).show(session.turns)
        self._field("prompt").focus()

    def _field(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Score what is typed, or go to the first field that is needed and empty."""
        prompt, *answers = (self._field(name).value.strip() for name in FIELDS)
        if missing := next((name for name in FIELDS[:2] if not self._field(name).value.strip()), None):
            self._field(missing).focus()
        elif self._scoring is None:
            self._scoring = self._score(prompt, tuple(filter(None, answers)))

    @work(group="score")
    async def _score(self, prompt: str, answers: tuple[str, ...]) -> None:
        try:
            await wait_for_engine(self.loris.session, lambda *waits: self._show_status(describe_waiting(*waits)))
            async with aclosing(self.loris.session.ask(Score(id=0, prompt=prompt, answers=answers))) as replies:
                await self._show(prompt, answers, replies)
        except UserError as error:
            self._show_status("✗ " + render(error.message))
        finally:
            self._scoring = None  # on errors and cancellation too

    async def _show(self, prompt: str, answers: tuple[str, ...], replies: AsyncGenerator[AnyReply, None]) -> None:
        async for reply in replies:
            if isinstance(reply, Refused):
                self._show_status("✗ " + render(reply.message))
            elif isinstance(reply, Done):
                turn = Turn(prompt, scored_answers(answers, reply.scores))
                self.loris.session.turns.append(turn)
                if self.is_here:
                    self._show_status("")
                    await self.query_one(Transcript).add(turn)
                    self._clear_answers()

    def _clear_answers(self) -> None:
        for name in FIELDS[1:]:
            self._field(name).value = ""
        self._field("answer").focus()

    def _show_status(self, words: str) -> None:
        if self.is_here:
            self.query_one("#state", Static).update(visible(words))

    def action_back(self) -> None:
        if self._scoring is not None:
            self._scoring.cancel()
        self.loris.go("model" if self.loris.session.warm else "live")

    async def action_clear(self) -> None:
        self.loris.session.turns.clear()
        await self.query_one(Transcript).show([])

    def action_save(self) -> None:
        if self.loris.session.state.trained:
            self.loris.go("save")
        else:
            self.notify(_("There is nothing to export yet: train first."))

    def action_scroll(self, pages: int) -> None:
        transcript = self.query_one(Transcript)
        transcript.scroll_relative(y=pages * max(1, transcript.size.height - 2), animate=False)


def scored_answers(answers: tuple[str, ...], scores: tuple[float, ...]) -> list[Answer]:
    """The answers under their scores; of two, the better one stands out."""
    best = max(scores, default=0.0)
    return [
        Answer(
            adapter=score == best,
            text=answer,
            title=_("score {score}").format(score=f"{score:.3f}"),
            note=_("better") if len(scores) > 1 and score == best > min(scores) else "",
        )
        for answer, score in zip(answers, scores, strict=True)
    ]
