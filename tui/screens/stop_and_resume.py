"""What can be done about the run on the screen: stop it by steps, see why it failed, go on with it."""

from __future__ import annotations

from engine.config.change import Change
from engine.config.spec_error import SpecError
from engine.messages.errors import UserError
from engine.protocol.commands import Refused
from engine.runs.exit_cause import exit_cause_of
from tui.dialogs.failure import Failure, FailureModal, WayOn
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
    """Asks over `screen`, goes by what `watch` found out, and acts on the session of the app."""

    def __init__(self, screen: LorisScreen, watch: EngineWatch) -> None:
        self._screen, self._watch = screen, watch
        self._told_failure = False
        self._stops_asked = 0  # how far up the ladder: 0 not asked, 1 to stop, 2 at once, 3 by force
        self._stopped_of: object = None  # the engine that was asked

    @property
    def _session(self) -> RunSession:
        return self._screen.loris.session

    # Failure

    def failure(self) -> Failure | None:
        """What went wrong with the run, if anything did."""
        session, state = self._session, self._session.state
        if session.folder is None or session.is_launching:
            return None  # of what is being gone on with, nothing is wrong any more
        tail = tuple(list(session.log)[-LOG_LINES_OF_FAILURE:])
        path = visible(str(session.folder.log))
        # The engine may be on its way out still: resuming waits for that.
        from_step = (self._watch.checkpoint or 0) if session.is_resumable(self._watch.checkpoint) else None
        if state.failed:
            words, hint = render(state.failed.message), render(state.failed.hint) if state.failed.hint else ""
            return Failure(
                _("The run failed"), state.failed.code, visible(words), visible(hint), tail, path,
                changes=tuple(map(describe_change, state.failed.changes)), checkpoint=from_step,
            )  # fmt: skip
        # A trained run lacks nothing: chat starts the engine again.
        over, lacks = self._watch.gone or state.ended is not None, state.unsaved or not state.trained
        if over and lacks and (why := exit_cause_of(state, self._watch.checkpoint)):
            words, hint = visible(render(why.message)), render(why.hint)
            return Failure(_("The engine is gone"), why.code, words, hint, tail, path, checkpoint=from_step)
        return None

    def tell_failure(self) -> None:
        """Once, when it is found."""
        if (failure := self.failure()) is None:
            self._told_failure = False
        elif not self._told_failure and self._screen.is_current:
            self._told_failure = True
            self._screen.app.push_screen(FailureModal(failure), self._go_on)

    def why(self) -> None:
        """Tell the failure again."""
        if failure := self.failure():
            self._screen.app.push_screen(FailureModal(failure), self._go_on)

    def _go_on(self, how: WayOn | None) -> None:
        """What the user chose to do about a failure."""
        failed = self._session.state.failed
        changes = failed.changes if failed else ()
        if how == "wizard":
            self._into_wizard(changes)
        elif how:
            self.resume(changes if how == "resume_changed" else ())

    def _into_wizard(self, changes: tuple[Change, ...]) -> None:
        spec = self._session.spec
        if spec is not None:
            draft = Draft(spec)
            for change in changes:
                draft[change.field] = change.value
            self._screen.loris.draft = draft
            self._screen.loris.go("review")

    # Going on

    def resume(self, changes: tuple[Change, ...] = ()) -> None:
        """Go on with the run, with these settings changed."""
        self._screen.run_worker(self._resume(changes), group="resume", exclusive=True)

    async def resume_with(self) -> None:
        """Show what may be changed before it goes on."""
        session, state = self._session, self._session.state
        if session.spec is None or session.folder is None:
            return
        seen, total = state.step.step if state.step else 0, state.training.total_steps if state.training else 0
        title = visible(session.spec.name or session.folder.name)
        changes = await self._screen.app.push_screen_wait(
            ResumeDialog(title, session.spec, self._watch.checkpoint or 0, seen, total)
        )
        if changes is not None:
            self.resume(changes)

    async def _resume(self, changes: tuple[Change, ...]) -> None:
        session = self._session
        if session.folder is None:
            return
        step = session.backend.checkpoint(session.folder)
        try:
            if session.alive:  # it ends, or it waits for questions and holds the card
                await session.shut_down(session.folder)
            if session.alive:
                self._screen.notify(_("Its engine is still there: stop it first."), severity="warning")
                return
            session.resume(changes)
        except (SpecError, OSError) as error:
            self._screen.notify(visible(describe_error(error)), severity="error", markup=False)
            return
        self._watch.engine_expected()
        self._screen.notify(describe_resume(step))
        self._screen.refresh_bindings()

    # Stopping

    async def stop(self) -> None:
        """One step up the ladder: stop and save; at once; by force. Each is asked for, and says what it costs."""
        session, state = self._session, self._session.state
        if self._stopped_of != (session.folder, state.started):
            self._stopped_of, self._stops_asked = (session.folder, state.started), 0
        self._watch.check()
        rung = 2 if self._watch.frozen else min(self._stops_asked, 2)
        if not await self._screen.app.push_screen_wait(stop_question(rung, state, self._watch.frozen)):
            return
        self._stops_asked = max(self._stops_asked, rung + 1)
        self._screen.notify((_("Stopping …"), _("Ending it at once …"), _("Ending it by force …"))[rung])
        if session.folder is None:
            return
        if rung == 2:
            survived = await session.backend.kill(session.folder)
            self._screen.notify("\n".join(survived_lines(survived)), timeout=15, markup=False)
            return
        try:
            async for reply in session.stop("save" if rung == 0 else "now"):
                if isinstance(reply, Refused):
                    self._screen.notify(visible(render(reply.message)), severity="warning", markup=False)
        except UserError as error:
            self._screen.notify(visible(render(error.message)), severity="error", markup=False)
