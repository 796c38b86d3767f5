"""The chat screen: asks the adapter, the base model, or both the same question."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import ClassVar

import msgspec
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Footer, Input, Static
from textual.worker import Worker

from engine.client.serving import wait_for_engine
from engine.config.run_spec import GenerationSpec
from engine.config.sampling_presets import sampling_preset_name
from engine.messages.errors import UserError
from engine.protocol.commands import ChatMessage, Done, Refused, Token
from tui.dialogs.generation import GenerationDialog
from tui.screens.base import LorisScreen, PaletteEntry, RunChanged
from tui.screens.chat_menu import MORE, ChatMenu
from tui.state.chat_turns import (
    ADAPTER,
    BASE,
    Speaker,
    answer_note,
    can_adapt,
    messages_for,
    speaker_before,
    speaker_choices,
    speaker_name,
    takes_input,
)
from tui.state.run_session import Answer, Turn
from tui.state.transcripts import append_turn, new_transcript
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.top_bar import TopBar
from tui.widgets.transcript import Transcript

BATCH_SECONDS = 0.12  # redrawing at each token would load the processor and a slow line
LATE_ESCAPE_SECONDS = 0.7  # an Escape this soon after an answer was meant to stop it, not to leave


class ChatScreen(LorisScreen):
    """The conversation is kept in the run session, so it survives a change of screen."""

    CSS = """
    ChatScreen #who { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ChatScreen #state { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    ChatScreen #prompt, ChatScreen #input { height: 3; }
    ChatScreen #input { display: none; }
    ChatScreen.-input #input { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape", "stop_or_back", N_("Stop/back"), id="chat.stop", tooltip=N_("Stop the answer, or go back")
        ),
        Binding("ctrl+t", "who", N_("Who"), id="chat.who", tooltip=N_("Adapter, base model or both")),
        Binding("ctrl+r", "compare", N_("Compare"), id="chat.compare", tooltip=N_("Ask both the same question")),
        Binding("ctrl+n", "retry", N_("Retry"), id="chat.retry", tooltip=MORE["retry"], show=False),
        Binding("ctrl+y", "copy", N_("Copy"), id="chat.copy", tooltip=MORE["copy"], show=False),
        Binding("ctrl+g", "generation", N_("Settings"), id="chat.generation", tooltip=N_("How answers are made")),
        Binding("ctrl+o", "more", N_("More"), id="chat.more", tooltip=N_("Everything else that the chat can do")),
        Binding("ctrl+l", "clear", N_("Clear"), id="chat.clear", tooltip=MORE["clear"], show=False),
        Binding("up", "edit", N_("Edit"), id="chat.edit", tooltip=MORE["edit"], show=False),
        Binding(
            "ctrl+s", "save", N_("Export"), id="chat.save", tooltip=N_("Export the model: adapter, merged or GGUF")
        ),
        Binding("pageup", "scroll(-1)", show=False),
        Binding("pagedown", "scroll(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.who: tuple[Speaker, ...] = (BASE,)
        self._asking: Worker[None] | None = None
        self._answered = 0.0
        self._menu = ChatMenu(self, self._show_status)

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
        yield Input(id="input", placeholder=_("Its input, if it has one"))
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        session = self.loris.session
        self.who = (ADAPTER,) if can_adapt(session) else (BASE,)
        if self.wanted_field == "other":
            self.who = speaker_choices(session.other)[-1]
        self._batches = self.set_interval(BATCH_SECONDS, self._draw, pause=True)
        await self.query_one(Transcript).show(self.loris.session.turns)
        self.query_one("#prompt", Input).focus()
        self.show()

    def on_run_changed(self, _message: RunChanged) -> None:
        self.show()

    @property
    def generation(self) -> GenerationSpec:
        """The settings for answers: the run's, until they are changed here."""
        session = self.loris.session
        return session.generation or (session.spec.generation if session.spec else GenerationSpec())

    def show(self) -> None:
        session = self.loris.session
        self.set_class(takes_input(session), "-input")
        model = session.spec.model.model_name if session.spec else ""
        tone = "failed" if session.state.failed else "ready" if session.state.stage in ("ready", "serving") else ""
        self.query_one(TopBar).show(_("Chat") + (f" · {model}" if model else ""), self._describe_engine(), tone)
        made = self.generation
        numbers = f"temperature {made.temperature:g} · min_p {made.min_p:g}"
        settings = f"{sampling_preset_name(made) or numbers} · max_new_tokens {made.max_new_tokens}"
        who = Content.assemble(
            (_("Answers: {who}").format(who=visible(self._describe_speakers())), "bold"),
            (f"   {settings}", "$foreground-muted"),
        )
        self.query_one("#who", Static).update(who)

    @property
    def _before_and_after(self) -> tuple[Speaker, ...]:
        return speaker_before(self.loris.session), ADAPTER

    def _describe_speakers(self) -> str:
        if self.who == self._before_and_after:
            return _("both, to compare")
        whole = self.loris.session.state.whole
        return _(" and ").join(speaker_name(speaker, whole) for speaker in self.who)

    def _describe_engine(self) -> str:
        session = self.loris.session
        if session.is_launching:
            return _("loading the model …")
        if not session.alive:
            return _("starts with your first question") if session.state.trained else _("no engine")
        return {
            "ready": _("ready"), "serving": _("ready"), "training": _("training"), "preparing": _("training"),
            "saving": _("saving"), "exporting": _("saving"),
        }.get(session.state.stage, _("loading the model …"))  # fmt: skip

    def _show_status(self, words: str) -> None:
        self.query_one("#state", Static).update(visible(words))

    async def _draw(self) -> None:
        await self.query_one(Transcript).refresh_text()

    # Asking

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._submit(self.who)

    def _submit(self, who: tuple[Speaker, ...], again: bool = False) -> None:
        """Ask what is typed; `again`: the last question if nothing is."""
        asked = self._typed
        if not asked.question and again and self.loris.session.turns:
            asked = self.loris.session.turns[-1]
        if not asked.question:
            return
        if self._asking is not None:
            self.notify(_("Wait for the answer, or press Escape to stop it."))
            return
        self._type("", "")
        self._asking = self._ask(asked, who)

    @property
    def _typed(self) -> Turn:
        """What is typed: a question, and its input where there is a field for one."""
        prompt, extra = self.query_one("#prompt", Input), self.query_one("#input", Input)
        return Turn(prompt.value.strip(), [], extra.value.strip() if extra.display else "")

    def _type(self, question: str, extra: str) -> None:
        self.query_one("#input", Input).value = extra
        prompt = self.query_one("#prompt", Input)
        prompt.value = question
        prompt.cursor_position = len(question)
        prompt.focus()

    @work(group="ask")
    async def _ask(self, asked: Turn, who: tuple[Speaker, ...]) -> None:
        turns = self.loris.session.turns
        before = tuple(turns)
        whole = self.loris.session.state.whole
        answers = [Answer(speaker.adapter, other=speaker.other, whole=whole) for speaker in who]
        turn = Turn(asked.question, answers, asked.input)
        turns.append(turn)
        transcript = self.query_one(Transcript)
        await transcript.add(turn)
        self._batches.resume()
        try:
            for answer in turn.answers:
                await self._answer(before, turn, answer)
        finally:
            # Runs on errors and cancellation too: the next question can be asked.
            self._asking, self._answered = None, time.monotonic()
            for answer in turn.answers:
                answer.note = answer.note or _("stopped")
            self._store(turn)
            if self.is_here:
                self._batches.pause()
                await self._draw()
                self._show_status("")
                self.show()

    async def _answer(self, before: tuple[Turn, ...], asked: Turn, answer: Answer) -> None:
        """Fill in one answer. An error is shown next to it."""
        answer.note = _("waiting…")
        try:
            await wait_for_engine(self.loris.session, lambda *waits: self._wait(answer, describe_waiting(*waits)))
            self._show_status(_("Answering. Escape stops it."))
            await self._stream(messages_for(before, asked, Speaker(answer.adapter, answer.other)), answer)
        except asyncio.CancelledError:
            answer.note = _("stopped")
            raise
        except UserError as error:
            answer.failed, answer.note = True, visible(render(error.message))

    def _wait(self, answer: Answer, words: str) -> None:
        answer.note = words
        self._show_status(_("Your question is kept and sent when the model is ready."))

    async def _stream(self, messages: tuple[ChatMessage, ...], answer: Answer) -> None:
        started, pieces = time.monotonic(), 0
        answer.note = "…"
        session = self.loris.session
        async with aclosing(session.generate(messages, answer.adapter, self.generation, answer.other)) as replies:
            async for reply in replies:
                match reply:
                    case Token(text=text):
                        pieces += 1
                        answer.text += text
                        answer.note = answer_note(pieces, time.monotonic() - started)
                    case Done():
                        answer.warning = render(reply.note) if reply.note else ""
                        answer.note = answer_note(reply.tokens, reply.seconds, reply)
                    case Refused():
                        answer.failed, answer.note = True, render(reply.message)

    # Keys

    def action_stop_or_back(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        elif time.monotonic() - self._answered > LATE_ESCAPE_SECONDS:
            self.loris.go("model" if self.loris.session.warm else "live")

    def action_who(self) -> None:
        if not self._menu.can_compare():
            return
        each = speaker_choices(self.loris.session.other, speaker_before(self.loris.session))
        self.who = each[(each.index(self.who) + 1) % len(each)] if self.who in each else each[0]
        self.show()

    def action_compare(self) -> None:
        if self._menu.can_compare():
            # A pair that is already chosen stays.
            self._submit(self.who if len(self.who) > 1 else self._before_and_after, again=True)

    @work
    async def action_generation(self) -> None:
        chosen = await self.app.push_screen_wait(GenerationDialog(self.generation))
        if chosen is not None:
            self.loris.session.generation = chosen
            self.show()

    # Retry, edit and the menu

    def _take_back(self) -> Turn | None:
        """Remove and return the last turn; None, with a notification, when there is none."""
        turns = self.loris.session.turns
        if self._asking is not None:
            self.notify(_("Wait for the answer, or press Escape to stop it."))
            return None
        if not turns:
            self.notify(_("There is no question yet."))
            return None
        return turns.pop()

    async def action_retry(self) -> None:
        if (turn := self._take_back()) is None:
            return
        await self.query_one(Transcript).show(self.loris.session.turns)
        made = self.generation
        self.loris.session.generation = msgspec.structs.replace(made, seed=(made.seed + 1) % 2**32)
        # asked of the same models as before
        self._asking = self._ask(turn, tuple(Speaker(a.adapter, a.other) for a in turn.answers))

    async def action_edit(self) -> None:
        if not self._typed.question and self.loris.session.turns and (turn := self._take_back()):
            self._type(turn.question, turn.input)
            await self.query_one(Transcript).show(self.loris.session.turns)

    def action_copy(self) -> None:
        self._menu.copy()

    @work
    async def action_raw(self) -> None:
        await self._menu.show_prompt(self._typed, self.who[-1], self.generation)

    @work
    async def action_other(self) -> None:
        if await self._menu.choose_other():
            self.who = speaker_choices(self.loris.session.other)[-1]
            self.show()

    def action_collect(self) -> None:
        self._menu.collect(self.generation.system_prompt)

    @work
    async def action_more(self) -> None:
        if name := await self._menu.choose():
            await self.run_action(name)

    async def action_clear(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        self.loris.session.turns.clear()
        self.loris.session.transcript = None
        await self.query_one(Transcript).show([])

    def _store(self, turn: Turn) -> None:
        """Append the turn to the run's transcript. A full disk does not stop the chat."""
        session = self.loris.session
        if session.folder is None or not any(answer.text for answer in turn.answers):
            return
        session.transcript = session.transcript or new_transcript(session.folder)
        try:
            append_turn(session.transcript, turn, self.generation)
        except OSError as error:
            self._show_status(
                _("This conversation is not saved: {reason}").format(reason=error.strerror or str(error))
            )

    def action_save(self) -> None:
        if self.loris.session.state.trained:
            self.loris.go("save")
        else:
            self.notify(_("There is nothing to export yet: train first."))

    def action_scroll(self, pages: int) -> None:
        transcript = self.query_one(Transcript)
        transcript.scroll_relative(y=pages * max(1, transcript.size.height - 2), animate=False)

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        settings: Callable[[], object] = self.action_generation
        yield _("chat: who answers"), _("Adapter, base model or both"), self.action_who
        yield _("chat: compare"), _("Ask both the same question"), self.action_compare
        yield _("chat: settings"), _("How answers are made"), settings
        for name, text in MORE.items():
            yield f"chat: {name}", _(text), getattr(self, f"action_{name}")
