"""The screen that talks with the model: the adapter, the base, or both on the same question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Footer, Input, Static
from textual.worker import Worker

from engine.client.errors import ClientError
from engine.spec.commands import ChatMessage, Done, Refused, Token
from engine.spec.run import GenerationSpec
from tui.amounts import rate
from tui.i18n import N_, _, render
from tui.link import Answer, Turn
from tui.messages import RunChanged
from tui.safe import visible
from tui.screens.base import LorisScreen, PaletteEntry
from tui.serving import NotServing, until_it_answers, why
from tui.widgets.generation_dialog import GenerationDialog
from tui.widgets.top_bar import TopBar
from tui.widgets.transcript import Transcript

BATCH_SECONDS = 0.12  # text is drawn in batches: one drawing a token costs the processor and the line
TOO_LATE_SECONDS = 0.7  # an Escape so soon after an answer was meant to stop it, not to leave
WHO = {
    (True,): N_("with the adapter"),
    (False,): N_("base model"),
    (False, True): N_("both, to compare"),
}


class ChatScreen(LorisScreen):
    """The conversation itself lives in the link, so that it is still there after a look at another screen."""

    CSS = """
    ChatScreen #who { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ChatScreen #state { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    ChatScreen #prompt { height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape", "stop_or_back", N_("Stop/back"), id="chat.stop", tooltip=N_("Stop the answer, or go back")
        ),
        Binding("ctrl+t", "who", N_("Who"), id="chat.who", tooltip=N_("Adapter, base model or both")),
        Binding("ctrl+r", "compare", N_("Compare"), id="chat.compare", tooltip=N_("Ask both the same question")),
        Binding("ctrl+g", "generation", N_("Settings"), id="chat.generation", tooltip=N_("How answers are made")),
        Binding("ctrl+l", "clear", N_("Clear"), id="chat.clear", tooltip=N_("Start a new conversation")),
        Binding("ctrl+s", "save", N_("Save"), id="chat.save", tooltip=N_("Save, merge or copy the model")),
        Binding("pageup", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._who: tuple[bool, ...] = (False,)
        self._asking: Worker[None] | None = None
        self._answered = 0.0

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Static(id="who", markup=False)
        yield Transcript(
            _(
                "Type a question and press Enter. Ctrl+T changes who answers; Ctrl+R asks the base model and the "
                "adapter the same question, to see what training changed."
            ),
            id="transcript",
        )
        yield Static(id="state", markup=False)
        yield Input(id="prompt", placeholder=_("Your question"))
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        self._who = (True,) if self.loris.link.state.trained else (False,)
        self._batches = self.set_interval(BATCH_SECONDS, self._draw, pause=True)
        await self.query_one(Transcript).show(self.loris.link.turns)
        self.query_one(Input).focus()
        self._show()

    def on_run_changed(self, _message: RunChanged) -> None:
        self._show()

    @property
    def generation(self) -> GenerationSpec:
        """The settings for answers: the run's, until they are changed here."""
        link = self.loris.link
        return link.generation or (link.spec.generation if link.spec else GenerationSpec())

    def _show(self) -> None:
        link = self.loris.link
        model = link.spec.model.model_name if link.spec else ""
        tone = "failed" if link.state.failed else "ready" if link.state.stage in ("ready", "serving") else ""
        self.query_one(TopBar).show(_("Chat") + (f" · {model}" if model else ""), self._engine_words(), tone)
        made = self.generation
        settings = f"temperature {made.temperature:g} · min_p {made.min_p:g} · max_new_tokens {made.max_new_tokens}"
        who = Content.assemble(
            (_("Answers: {who}").format(who=_(WHO[self._who])), "bold"), (f"   {settings}", "$foreground-muted")
        )
        self.query_one("#who", Static).update(who)

    def _engine_words(self) -> str:
        link = self.loris.link
        if link.being_served:
            return _("loading the model …")
        if not link.alive:
            return _("starts with your first question") if link.state.trained else _("no engine")
        return {
            "ready": _("ready"), "serving": _("ready"), "training": _("training"), "preparing": _("training"),
            "saving": _("saving"), "exporting": _("saving"),
        }.get(link.state.stage, _("loading the model …"))  # fmt: skip

    def _tell(self, words: str) -> None:
        self.query_one("#state", Static).update(visible(words))

    def _draw(self) -> None:
        self.query_one(Transcript).refresh_text()

    # Asking

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._submit(self._who)

    def _submit(self, who: tuple[bool, ...], again: bool = False) -> None:
        """Ask what is typed; `again`: the last question if nothing is."""
        prompt = self.query_one(Input)
        question = prompt.value.strip()
        if not question and again and self.loris.link.turns:
            question = self.loris.link.turns[-1].question
        if not question:
            return
        if self._asking is not None:
            self.notify(_("Wait for the answer, or press Escape to stop it."))
            return
        prompt.value = ""
        self._asking = self._ask(question, who)

    @work(group="ask")
    async def _ask(self, question: str, who: tuple[bool, ...]) -> None:
        turns = self.loris.link.turns
        before = tuple(turns)
        turn = Turn(question, [Answer(adapter) for adapter in who])
        turns.append(turn)
        transcript = self.query_one(Transcript)
        await transcript.add(turn)
        self._batches.resume()
        try:
            for answer in turn.answers:
                await self._answer(before, question, answer)
        finally:
            # However it ended, the next question can be asked.
            self._asking, self._answered = None, time.monotonic()
            for answer in turn.answers:
                answer.note = answer.note or _("stopped")
            if self.is_attached:
                self._batches.pause()
                self._draw()
                self._tell("")
                self._show()

    async def _answer(self, before: tuple[Turn, ...], question: str, answer: Answer) -> None:
        """Fill in one answer. What goes wrong stands beside it."""
        answer.note = _("waiting…")
        try:
            await until_it_answers(self.loris.link, lambda words: self._wait(answer, words))
            self._tell(_("Answering. Escape stops it."))
            await self._stream(messages_for(before, question, answer.adapter), answer)
        except asyncio.CancelledError:
            answer.note = _("stopped")
            raise
        except NotServing as error:
            answer.failed, answer.note = True, why(error)
        except ClientError as error:
            answer.failed, answer.note = True, render(error.message)

    def _wait(self, answer: Answer, words: str) -> None:
        answer.note = words
        self._tell(_("Your question is kept and sent when the model is ready."))

    async def _stream(self, messages: tuple[ChatMessage, ...], answer: Answer) -> None:
        started, pieces = time.monotonic(), 0
        answer.note = "…"
        async with aclosing(self.loris.link.generate(messages, answer.adapter, self.generation)) as replies:
            async for reply in replies:
                match reply:
                    case Token(text=text):
                        pieces += 1
                        answer.text += text
                        answer.note = _note(pieces, time.monotonic() - started, "")
                    case Done():
                        answer.note = _note(reply.tokens, reply.seconds, reply.finish_reason)
                    case Refused():
                        answer.failed, answer.note = True, render(reply.message)

    # Keys

    def action_stop_or_back(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        elif time.monotonic() - self._answered > TOO_LATE_SECONDS:
            self.loris.go("model" if self.loris.link.warm else "live")

    def action_who(self) -> None:
        if not self._can_compare():
            return
        ways = list(WHO)
        self._who = ways[(ways.index(self._who) + 1) % len(ways)]
        self._show()

    def action_compare(self) -> None:
        if self._can_compare():
            self._submit((False, True), again=True)

    def _can_compare(self) -> bool:
        if not self.loris.link.state.trained:
            self.notify(_("There is no adapter yet: only the base model answers before training."))
            return False
        return True

    @work
    async def action_generation(self) -> None:
        chosen = await self.app.push_screen_wait(GenerationDialog(self.generation))
        if chosen is not None:
            self.loris.link.generation = chosen
            self._show()

    async def action_clear(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self.loris.link.turns.clear()
        await self.query_one(Transcript).show([])

    def action_save(self) -> None:
        if self.loris.link.state.trained:
            self.loris.go("save")
        else:
            self.notify(_("There is nothing to save yet: train first."))

    def action_scroll(self, pages: int) -> None:
        transcript = self.query_one(Transcript)
        transcript.scroll_relative(y=pages * max(1, transcript.size.height - 2), animate=False)

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        settings: Callable[[], object] = self.action_generation
        yield _("chat: who answers"), _("Adapter, base model or both"), self.action_who
        yield _("chat: compare"), _("Ask both the same question"), self.action_compare
        yield _("chat: settings"), _("How answers are made"), settings
        yield _("chat: clear"), _("Start a new conversation"), self.action_clear


def messages_for(before: tuple[Turn, ...], question: str, adapter: bool) -> tuple[ChatMessage, ...]:
    """The conversation as this model is to see it: its own answers where it gave some, else the other's."""
    messages = []
    for turn in before:
        given = [a for a in turn.answers if a.text and not a.failed]
        mine = next((a for a in given if a.adapter is adapter), given[0] if given else None)
        if mine:
            messages += [ChatMessage("user", turn.question), ChatMessage("assistant", mine.text)]
    return (*messages, ChatMessage("user", question))


def _note(tokens: int, seconds: float, reason: str) -> str:
    parts = [_("{count} tokens").format(count=tokens), rate(tokens, seconds)]
    if reason == "length":
        parts.append(_("cut at {count} tokens").format(count=tokens))
    elif reason == "cancelled":
        parts.append(_("stopped"))
    return " · ".join(part for part in parts if part)
