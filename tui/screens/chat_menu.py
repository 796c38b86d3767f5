"""The chat's menu: copy, collect as training data, show the raw prompt, compare with another run."""

import asyncio
from collections.abc import Callable

from engine.client.serving import wait_for_engine
from engine.config.run_spec import GenerationSpec
from engine.messages.errors import UserError
from engine.protocol.commands import ChatMessage, Done, Refused, ShowPrompt
from tui.dialogs.ask import ChooseDialog
from tui.dialogs.show import PromptDialog
from tui.screens.base import LorisScreen
from tui.state.chat_turns import Speaker, best_answer, can_adapt, lacks_base, messages_for, other_runs
from tui.state.run_session import RunSession, Turn
from tui.state.transcripts import append_example, collected_file
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

MORE = {
    "copy": N_("Copy the last answer"),
    "retry": N_("Ask the last question again, with another seed"),
    "edit": N_("Edit the last question"),
    "raw": N_("Show the prompt as the model is given it"),
    "other": N_("Compare with another run's adapter"),
    "collect": N_("Keep the last answer as training data"),
    "clear": N_("Start a new conversation"),
}


NO_BASE = N_(
    "All weights were trained: there is no base model in memory to compare with. The test prompts have its answers."
)


class ChatMenu:
    """Works on the app's session. Opens dialogs over `screen`; shows results with `report`."""

    def __init__(self, screen: LorisScreen, report: Callable[[str], None]) -> None:
        self._screen, self._report = screen, report

    @property
    def _session(self) -> RunSession:
        return self._screen.loris.session

    async def choose(self) -> str | None:
        """Show the menu; returns the chosen action's name, None when it was closed."""
        entries = {_(text): name for name, text in MORE.items()}
        chosen = await self._screen.app.push_screen_wait(ChooseDialog(_("Chat"), list(entries), ""))
        return entries[chosen] if chosen is not None else None

    def can_compare(self) -> bool:
        """Whether an adapter can answer too; notifies the user when none can."""
        if not can_adapt(self._session):
            self._screen.notify(_("There is no adapter yet: only the base model answers before training."))
            return False
        if lacks_base(self._session):
            self._screen.notify(_(NO_BASE))
            return False
        return True

    def copy(self) -> None:
        """Copy the last answer to the clipboard."""
        if answer := best_answer(self._session.turns):
            self._screen.app.copy_to_clipboard(answer.text)
            self._screen.notify(_("Copied, if this terminal allows it."))
        else:
            self._screen.notify(_("There is no answer yet."))

    async def show_prompt(self, typed: Turn, speaker: Speaker, generation: GenerationSpec) -> None:
        """Show the raw prompt of `speaker` for the typed question, else for the last one."""
        session = self._session
        before, asked = tuple(session.turns), typed
        if not typed.question and session.turns:
            before, asked = tuple(session.turns[:-1]), session.turns[-1]
        messages = messages_for(before, asked, speaker)
        command = ShowPrompt(id=0, messages=messages, generation=generation)
        try:
            await wait_for_engine(session, lambda *waits: self._report(describe_waiting(*waits)))
            self._report("")
            async for reply in session.ask(command):
                if isinstance(reply, Done):
                    self._screen.app.push_screen(PromptDialog(reply.text, _("What the model is given")))
                elif isinstance(reply, Refused):
                    self._report(render(reply.message))
        except UserError as error:
            self._report(render(error.message))

    async def choose_other(self) -> bool:
        """Choose another run whose adapter answers too. Returns whether one was chosen."""
        session = self._session
        if not self.can_compare() or session.spec is None:
            return False
        runs = await asyncio.to_thread(other_runs, session.folder, session.spec.model.model_name)
        if not runs:
            self._screen.notify(_("No other run trained this model."))
            return False
        names = [run.name for run in runs]
        chosen = await self._screen.app.push_screen_wait(
            ChooseDialog(_("Compare with the adapter of"), names, names[0])
        )
        if chosen is not None:
            session.other = str(runs[names.index(chosen)].folder.path)
        return chosen is not None

    def collect(self, system: str) -> None:
        """Add the last answer to a file of training data. `system`: its system prompt."""
        session = self._session
        answer = best_answer(session.turns)
        if answer is None or session.folder is None:
            self._screen.notify(_("There is no answer yet."))
            return
        at = next(n for n, turn in enumerate(session.turns) if any(a is answer for a in turn.answers))
        speaker = Speaker(answer.adapter, answer.other)
        asked = messages_for(tuple(session.turns[:at]), session.turns[at], speaker)
        first = (ChatMessage("system", system),) if system else ()
        path = collected_file(session.folder)
        try:
            append_example(path, (*first, *asked, ChatMessage("assistant", answer.text)))
        except OSError as error:
            self._report(_("It was not written: {reason}").format(reason=error.strerror or str(error)))
            return
        words = _("Added to {path}: choose this file as a dataset to train on it.").format(path=path)
        self._screen.notify(visible(words), markup=False, timeout=10)  # a path may be longer than a line
