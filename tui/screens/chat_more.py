"""What one does with a conversation besides asking: copy, retry, edit, keep, compare with another run."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

import msgspec
from textual import work
from textual.widgets import Input
from textual.worker import Worker

from engine.config.run_spec import GenerationSpec
from engine.messages.errors import UserError
from engine.protocol.commands import ChatMessage, Done, Refused, ShowPrompt
from tui.dialogs.choose import ChooseDialog
from tui.dialogs.prompt import PromptDialog
from tui.screens.base import LorisScreen
from tui.state.chat_turns import Speaker, best_answer, can_adapt, messages_for, other_runs, ways
from tui.state.run_session import Turn
from tui.state.serving import until_it_answers
from tui.state.transcripts import collect, collected
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.transcript import Transcript

MORE = {
    "copy": N_("Copy the last answer"),
    "retry": N_("Ask the last question again, with another seed"),
    "edit": N_("Edit the last question"),
    "raw": N_("Show the prompt as the model is given it"),
    "other": N_("Compare with another run's adapter"),
    "collect": N_("Keep the last answer as training data"),
    "clear": N_("Start a new conversation"),
}


class MoreChat(LorisScreen):
    """The part of the chat that is not about asking. `who`: who answers next; `_asking`: while they do."""

    who: tuple[Speaker, ...]
    _asking: Worker[None] | None

    @property
    @abstractmethod
    def generation(self) -> GenerationSpec: ...
    @abstractmethod
    def tell(self, words: str) -> None: ...
    @abstractmethod
    def show(self) -> None: ...
    @abstractmethod
    def ask_again(self, turn: Turn) -> None: ...

    def can_compare(self) -> bool:
        if not can_adapt(self.loris.session):
            self.notify(_("There is no adapter yet: only the base model answers before training."))
            return False
        return True

    # What one does with an answer

    def action_copy(self) -> None:
        if answer := best_answer(self.loris.session.turns):
            self.app.copy_to_clipboard(answer.text)
            self.notify(_("Copied, if this terminal allows it."))
        else:
            self.notify(_("There is no answer yet."))

    def _take_back(self) -> Turn | None:
        """The last turn, taken off the conversation; None, and said so, when there is none."""
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
        self.ask_again(turn)

    async def action_edit(self) -> None:
        prompt = self.query_one(Input)
        if not prompt.value and self.loris.session.turns and (turn := self._take_back()):
            prompt.value = turn.question
            prompt.cursor_position = len(turn.question)
            await self.query_one(Transcript).show(self.loris.session.turns)

    @work
    async def action_raw(self) -> None:
        session = self.loris.session
        typed = self.query_one(Input).value.strip()
        before, question = tuple(session.turns), typed
        if not typed and session.turns:
            before, question = tuple(session.turns[:-1]), session.turns[-1].question
        speaker = self.who[-1]
        messages = messages_for(before, question, speaker.adapter, speaker.other)
        command = ShowPrompt(id=0, messages=messages, generation=self.generation)
        try:
            await until_it_answers(session, self.tell)
            self.tell("")
            async for reply in session.ask(command):
                if isinstance(reply, Done):
                    self.app.push_screen(PromptDialog(reply.text, _("What the model is given")))
                elif isinstance(reply, Refused):
                    self.tell(render(reply.message))
        except UserError as error:
            self.tell(visible(render(error.message)))

    @work
    async def action_other(self) -> None:
        session = self.loris.session
        if not self.can_compare() or session.spec is None:
            return
        runs = await asyncio.to_thread(other_runs, session.folder, session.spec.model.model_name)
        if not runs:
            self.notify(_("No other run trained this model."))
            return
        names = [run.name for run in runs]
        chosen = await self.app.push_screen_wait(ChooseDialog(_("Compare with the adapter of"), names, names[0]))
        if chosen is not None:
            session.other = str(runs[names.index(chosen)].folder.path)
            self.who = ways(session.other)[-1]
            self.show()

    def action_collect(self) -> None:
        session = self.loris.session
        answer = best_answer(session.turns)
        if answer is None or session.folder is None:
            self.notify(_("There is no answer yet."))
            return
        at = next(n for n, turn in enumerate(session.turns) if any(a is answer for a in turn.answers))
        asked = messages_for(tuple(session.turns[:at]), session.turns[at].question, answer.adapter, answer.other)
        system = self.generation.system_prompt
        first = (ChatMessage("system", system),) if system else ()
        path = collected(session.folder)
        try:
            collect(path, (*first, *asked, ChatMessage("assistant", answer.text)))
        except OSError as error:
            self.tell(_("It was not written: {reason}").format(reason=error.strerror or str(error)))
            return
        words = _("Added to {path}: choose this file as a dataset to train on it.").format(path=path)
        self.notify(visible(words), markup=False, timeout=10)  # a path may be longer than a line

    @work
    async def action_more(self) -> None:
        entries = {_(text): name for name, text in MORE.items()}
        chosen = await self.app.push_screen_wait(ChooseDialog(_("Chat"), list(entries), ""))
        if chosen is not None:
            await self.run_action(entries[chosen])
