"""What can be done about the run on the screen: stop it by steps, see why it failed, go on with it."""

from __future__ import annotations

from textual import work

from engine.client.resume import resumable
from engine.config.change import Change
from engine.config.spec_error import SpecError
from engine.messages.errors import UserError
from engine.protocol.commands import Refused
from engine.runs.exit_cause import exit_cause_of
from tui.dialogs.resume import ResumeDialog
from tui.dialogs.run import Failure, FailureModal, WayOn
from tui.dialogs.stop import stop_question
from tui.screens.base import LorisScreen
from tui.state.draft import Draft
from tui.text.errors import error_words
from tui.text.resume import resume_words
from tui.text.run import change_words
from tui.text.sanitize import visible
from tui.text.stop import survived_lines
from tui.text.translation import _, render

LOG_LINES_OF_FAILURE = 40


class LiveActions(LorisScreen):
    """Knows of the engine what `LiveScreen` finds out every second."""

    def __init__(self) -> None:
        super().__init__()
        self._told_failure = False
        self._seconds_without = 0.0  # an engine
        self._stops_asked = 0  # how far up the ladder: 0 not asked, 1 to stop, 2 at once, 3 by force
        self._stopped_of: object = None  # the engine that was asked
        self._frozen = False
        self._checkpoint: int | None = None  # to go on from, once training is over

    @property
    def _gone(self) -> bool:
        """Whether the engine is gone without having said so."""
        raise NotImplementedError

    def _look_at_process(self) -> None:
        """Find out whether it is frozen, and what there is to go on from."""
        raise NotImplementedError

    # Failure

    def _failure(self) -> Failure | None:
        session, state = self.loris.session, self.loris.session.state
        if session.folder is None or session.being_served:
            return None  # of what is being gone on with, nothing is wrong any more
        tail = tuple(list(session.log)[-LOG_LINES_OF_FAILURE:])
        path = visible(str(session.folder.log))
        # The engine may be on its way out still: resuming waits for that.
        from_step = (self._checkpoint or 0) if resumable(state, self._checkpoint) else None
        if state.failed:
            words, hint = render(state.failed.message), render(state.failed.hint) if state.failed.hint else ""
            return Failure(
                _("The run failed"), state.failed.code, visible(words), visible(hint), tail, path,
                changes=tuple(map(change_words, state.failed.changes)), checkpoint=from_step,
            )  # fmt: skip
        # A trained run lacks nothing: chat starts the engine again.
        over, lacks = self._gone or state.ended is not None, state.unsaved or not state.trained
        if over and lacks and (why := exit_cause_of(state, self._checkpoint)):
            words, hint = visible(render(why.message)), render(why.hint)
            return Failure(_("The engine is gone"), why.code, words, hint, tail, path, checkpoint=from_step)
        return None

    def _tell_failure(self) -> None:
        if (failure := self._failure()) is None:
            self._told_failure = False
        elif not self._told_failure and self.is_current:
            self._told_failure = True
            self.app.push_screen(FailureModal(failure), self._go_on)

    def action_why(self) -> None:
        if failure := self._failure():
            self.app.push_screen(FailureModal(failure), self._go_on)

    def _go_on(self, how: WayOn | None) -> None:
        """What the user chose to do about a failure."""
        failed = self.loris.session.state.failed
        changes = failed.changes if failed else ()
        if how == "wizard":
            self._into_wizard(changes)
        elif how:
            self._resume(changes if how == "resume_changed" else ())

    def _into_wizard(self, changes: tuple[Change, ...]) -> None:
        spec = self.loris.session.spec
        if spec is not None:
            draft = Draft(spec)
            for change in changes:
                draft[change.field] = change.value
            self.loris.draft = draft
            self.loris.go("review")

    @property
    def _resumable(self) -> bool:
        """Whether training was cut off or stopped early and can go on: the engine is gone, or has nothing to do."""
        session, state = self.loris.session, self.loris.session.state
        if session.being_served or not resumable(state, self._checkpoint):
            return False
        # The lock is looked at: it is freed a moment after the end.
        return not session.alive if self._gone or state.ended else session.alive and state.stage == "serving"

    def action_resume(self) -> None:
        self._resume(())

    @work(exclusive=True, group="resume-with")
    async def action_resume_with(self) -> None:
        """Show what may be changed before it goes on."""
        session, state = self.loris.session, self.loris.session.state
        if session.spec is None or session.folder is None:
            return
        seen, total = state.step.step if state.step else 0, state.training.total_steps if state.training else 0
        title = visible(session.spec.name or session.folder.name)
        changes = await self.app.push_screen_wait(
            ResumeDialog(title, session.spec, self._checkpoint or 0, seen, total)
        )
        if changes is not None:
            self._resume(changes)

    @work(exclusive=True, group="resume")
    async def _resume(self, changes: tuple[Change, ...]) -> None:
        session = self.loris.session
        if session.folder is None:
            return
        step = session.backend.checkpoint(session.folder)
        try:
            if session.alive:  # it ends, or it waits for questions and holds the card
                await session.let_go(session.folder)
            if session.alive:
                self.notify(_("Its engine is still there: stop it first."), severity="warning")
                return
            session.resume(changes)
        except (SpecError, OSError) as error:
            self.notify(visible(error_words(error)), severity="error", markup=False)
            return
        self._seconds_without = 0.0
        self.notify(resume_words(step))
        self.refresh_bindings()

    @work(exclusive=True, group="stop")
    async def action_stop(self) -> None:
        """One step up the ladder: stop and save; at once; by force. Each is asked for, and says what it costs."""
        session, state = self.loris.session, self.loris.session.state
        if self._stopped_of != (session.folder, state.started):
            self._stopped_of, self._stops_asked = (session.folder, state.started), 0
        self._look_at_process()
        rung = 2 if self._frozen else min(self._stops_asked, 2)
        if not await self.app.push_screen_wait(stop_question(rung, state, self._frozen)):
            return
        self._stops_asked = max(self._stops_asked, rung + 1)
        self.notify((_("Stopping …"), _("Ending it at once …"), _("Ending it by force …"))[rung])
        if session.folder is None:
            return
        if rung == 2:
            survived = await session.backend.force(session.folder)
            self.notify("\n".join(survived_lines(survived)), timeout=15, markup=False)
            return
        try:
            async for reply in session.stop("save" if rung == 0 else "now"):
                if isinstance(reply, Refused):
                    self.notify(visible(render(reply.message)), severity="warning", markup=False)
        except UserError as error:
            self.notify(visible(render(error.message)), severity="error", markup=False)
