"""Watches the engine of the run that is shown: whether it is gone, suspended by a signal, or done."""

from engine.runs.resumable import stopped_early
from tui.state.run_session import RunSession

FINAL_OUTPUT_SECONDS = 2.0
START_SECONDS = 30.0


class EngineWatch:
    """Call `tick` regularly. `checkpoint`: the step to resume from, once training is over."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._seconds_without_engine = 0.0
        self.frozen = False
        self.checkpoint: int | None = None

    def tick(self, seconds: float) -> None:
        """Count the seconds without an engine. Its final output may still be unread when it releases the lock,
        and a process that was just started does not have it yet."""
        session = self._session
        if session.folder is None or session.alive or session.state.ended or session.is_launching:
            self.engine_expected()
        else:
            self._seconds_without_engine += seconds
        self.check()

    def engine_expected(self) -> None:
        """Note that an engine is running or being started."""
        self._seconds_without_engine = 0.0

    def check(self) -> None:
        """Update whether it is suspended and, once training is over, what it can resume from."""
        session, state = self._session, self._session.state
        self.frozen = session.folder is not None and session.alive and session.backend.is_frozen(session.folder)
        over = not session.alive or state.ended or state.failed or stopped_early(state)
        self.checkpoint = session.backend.checkpoint(session.folder) if session.folder and over else None

    @property
    def gone(self) -> bool:
        """Whether the engine is gone without an end event."""
        limit = FINAL_OUTPUT_SECONDS if self._session.state.started else START_SECONDS
        return self._seconds_without_engine >= limit

    @property
    def resumable(self) -> bool:
        """Whether training was interrupted or stopped early and can resume: the engine is gone or idle."""
        session, state = self._session, self._session.state
        if not session.is_resumable(self.checkpoint):
            return False
        # Check the lock: it is released a moment after the end event.
        return not session.alive if self.gone or state.ended else session.alive and state.stage == "serving"


class EndBell:
    """Call `should_ring` after each poll of the run. Most terminals mark a background tab that rings."""

    def __init__(self) -> None:
        self._engine: object = None  # the engine that is watched
        self._over = True

    def should_ring(self, session: RunSession) -> bool:
        """Whether training ended since the last call, however. A run that was over when opened does not count."""
        state = session.state
        engine, over = (
            (session.folder, state.started),
            bool(state.finished or state.failed or state.ended or session.lost),
        )
        news = engine == self._engine and over and not self._over
        self._engine, self._over = engine, over
        return news
