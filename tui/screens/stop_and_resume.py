"""Stops the run on the screen in escalating steps, shows why it failed, resumes it, and carries out the rest."""

from engine.client.serving import wait_for_engine
from engine.config.change import Change
from engine.config.spec_error import SpecError
from engine.messages.errors import UserError
from engine.protocol.commands import Deliver, Done, Refused, StopMode
from engine.runs.exit_cause import exit_cause_of
from engine.runs.manifest import epochs_at
from tui.dialogs.allow_command import ask_before_resume
from tui.dialogs.ask import ConfirmModal
from tui.dialogs.failure import Failure, FailureChoice, FailureModal
from tui.dialogs.resume import ResumeDialog
from tui.dialogs.stop import stop_question
from tui.screens.base import LorisScreen
from tui.state.draft import Draft
from tui.state.engine_watch import EngineWatch
from tui.state.run_session import RunSession
from tui.text.errors import describe_error
from tui.text.run import describe_change
from tui.text.run_states import describe_resume, survived_lines
from tui.text.sanitize import visible
from tui.text.translation import _, render

LOG_LINES_OF_FAILURE = 40


class StopAndResume:
    """Opens dialogs over `screen`, reads `watch`, acts on the app's session."""

    def __init__(self, screen: LorisScreen, watch: EngineWatch) -> None:
        self._screen, self._watch = screen, watch
        self._failure_shown = False
        self._stop_level = 0  # 0 not asked, 1 stop, 2 at once, 3 by force
        self._stopped_engine: object = None  # the engine that `_stop_level` belongs to

    @property
    def _session(self) -> RunSession:
        return self._screen.loris.session

    # Failure

    def failure(self) -> Failure | None:
        """Why the run failed or its engine ended; None when nothing is wrong."""
        session, state = self._session, self._session.state
        if session.folder is None or session.is_launching:
            return None  # it is being resumed
        tail = tuple(list(session.log)[-LOG_LINES_OF_FAILURE:])
        path = visible(str(session.folder.log))
        # The engine may still be ending; resuming waits for it.
        from_step = (self._watch.checkpoint or 0) if session.is_resumable(self._watch.checkpoint) else None
        if state.failed:
            words, hint = render(state.failed.message), render(state.failed.hint) if state.failed.hint else ""
            return Failure(
                _("The run failed"), state.failed.code, visible(words), visible(hint), tail, path,
                changes=tuple(map(describe_change, state.failed.changes)), checkpoint=from_step,
            )  # fmt: skip
        # A trained run needs no engine: chat starts one.
        over, lacks = self._watch.gone or state.ended is not None, state.unsaved or not state.trained
        if over and lacks and (why := exit_cause_of(state, self._watch.checkpoint)):
            words, hint = visible(render(why.message)), render(why.hint)
            return Failure(_("The engine is gone"), why.code, words, hint, tail, path, checkpoint=from_step)
        return None

    def show_new_failure(self) -> None:
        """Show a failure once, when it is found."""
        if (failure := self.failure()) is None:
            self._failure_shown = False
        elif not self._failure_shown and self._screen.is_current:
            self._failure_shown = True
            self._screen.app.push_screen(FailureModal(failure), self._handle_choice)

    def show_failure(self) -> None:
        """Show the failure again."""
        if failure := self.failure():
            self._screen.app.push_screen(FailureModal(failure), self._handle_choice)

    def _handle_choice(self, how: FailureChoice | None) -> None:
        """Carry out the user's choice in the failure dialog."""
        failed = self._session.state.failed
        changes = failed.changes if failed else ()
        if how == "wizard":
            self._open_wizard(changes)
        elif how:
            self.resume(changes if how == "resume_changed" else ())

    def _open_wizard(self, changes: tuple[Change, ...]) -> None:
        spec = self._session.spec
        if spec is not None:
            draft = Draft(spec)
            for change in changes:
                draft[change.field] = change.value
            self._screen.loris.draft = draft
            self._screen.loris.go("review")

    # Resume

    def resume(self, changes: tuple[Change, ...] = ()) -> None:
        """Resume the run with these settings changed."""
        self._screen.run_worker(self._resume(changes), group="resume", exclusive=True)

    async def resume_with(self) -> None:
        """Let the user change settings, then resume."""
        session, state = self._session, self._session.state
        if session.spec is None or session.folder is None:
            return
        last_step, total = state.step.step if state.step else 0, state.training.total_steps if state.training else 0
        title = visible(session.spec.name or session.folder.name)
        step = self._watch.checkpoint or 0
        epochs = epochs_at(session.folder.checkpoints, step)
        dialog = ResumeDialog(title, session.spec, step, last_step, total, epochs)
        changes = await self._screen.app.push_screen_wait(dialog)
        if changes is not None:
            self.resume(changes)

    async def _resume(self, changes: tuple[Change, ...]) -> None:
        session = self._session
        if session.folder is None:
            return
        step = session.backend.checkpoint(session.folder)
        try:
            if session.alive:  # it is ending, or serves questions and occupies the GPU
                await session.shut_down(session.folder)
            if session.alive:
                self._screen.notify(_("Its engine is still there: stop it first."), severity="warning")
                return
            if session.spec is not None:
                await ask_before_resume(self._screen.app, session.folder, session.spec, changes)
            session.resume(changes)
        except (SpecError, OSError) as error:
            self._screen.notify(visible(describe_error(error)), severity="error", markup=False)
            return
        self._watch.engine_expected()
        self._screen.notify(describe_resume(step))
        self._screen.refresh_bindings()

    # What is missing after training

    async def deliver(self) -> None:
        """Carry out what the spec asks for and is missing, then its confirmed command; may start an engine."""
        session = self._session
        words = _("Missing: {names}").format(names=visible(", ".join(session.state.undelivered)))
        if session.spec and (command := session.spec.export.after_command.strip()):
            words += "\n" + _("Then the command after the run, if it was confirmed: {command}").format(
                command=visible(command)
            )
        question = ConfirmModal(_("Do the rest now?"), words, yes=_("Do it"), no=_("Not now"))
        if not await self._screen.app.push_screen_wait(question):
            return
        try:
            await wait_for_engine(session, lambda *_waits: None, exports=True)
            async for reply in session.ask(Deliver(id=0)):
                if isinstance(reply, Refused):
                    self._screen.notify(visible(render(reply.message)), severity="warning", markup=False)
                elif isinstance(reply, Done):
                    self._screen.notify(_("Everything that the spec asks for is done."))
        except UserError as error:
            self._screen.notify(visible(render(error.message)), severity="error", markup=False)

    # Stop

    async def stop(self) -> None:
        """Escalate by one: stop and save, at once, by force. Each is confirmed and says what it costs."""
        session, state = self._session, self._session.state
        if self._stopped_engine != (session.folder, state.started):
            self._stopped_engine, self._stop_level = (session.folder, state.started), 0
        self._watch.check()
        rung = 2 if self._watch.frozen else min(self._stop_level, 2)
        command = session.spec.export.after_command.strip() if session.spec else ""
        if not await self._screen.app.push_screen_wait(stop_question(rung, state, self._watch.frozen, command)):
            return
        self._stop_level = max(self._stop_level, rung + 1)
        self._screen.notify((_("Stopping …"), _("Stopping at once …"), _("Terminating it …"))[rung])
        if session.folder is None:
            return
        if rung == 2:
            survived = await session.backend.kill(session.folder)
            self._screen.notify("\n".join(survived_lines(survived)), timeout=15, markup=False)
            return
        try:
            # What is saved and exported can only be cut short: "save" would finish it.
            mode: StopMode = "save" if rung == 0 and state.stage not in ("saving", "exporting") else "now"
            async for reply in session.stop(mode):
                if isinstance(reply, Refused):
                    self._screen.notify(visible(render(reply.message)), severity="warning", markup=False)
        except UserError as error:
            self._screen.notify(visible(render(error.message)), severity="error", markup=False)
