"""What is found out about the engine of the run that is looked at: gone, held up by a signal, at its end."""

from __future__ import annotations

from engine.runs.resumable import stopped_early
from tui.state.run_session import RunSession

LAST_WORDS_SECONDS = 2.0
START_SECONDS = 30.0


class EngineWatch:
    """Call `tick` at each look. `checkpoint`: the step to go on from, once training is over."""

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._seconds_without = 0.0  # an engine
        self.frozen = False
        self.checkpoint: int | None = None

    def tick(self, seconds: float) -> None:
        """Count the seconds without an engine. Its last words may still be unread when it lets go of the lock,
        and a process that was just started has yet to take it."""
        session = self._session
        if session.folder is None or session.alive or session.state.ended or session.is_launching:
            self.expect()
        else:
            self._seconds_without += seconds
        self.look()

    def expect(self) -> None:
        """An engine is there, or is being started."""
        self._seconds_without = 0.0

    def look(self) -> None:
        """Whether it is held up, and what there is to go on from once training is over, engine or no engine."""
        session, state = self._session, self._session.state
        self.frozen = session.folder is not None and session.alive and session.backend.is_frozen(session.folder)
        over = not session.alive or state.ended or state.failed or stopped_early(state)
        self.checkpoint = session.backend.checkpoint(session.folder) if session.folder and over else None

    @property
    def gone(self) -> bool:
        """Whether the engine is gone without having said so."""
        patience = LAST_WORDS_SECONDS if self._session.state.started else START_SECONDS
        return self._seconds_without >= patience

    @property
    def resumable(self) -> bool:
        """Whether training was cut off or stopped early and can go on: the engine is gone, or has nothing to do."""
        session, state = self._session, self._session.state
        if not session.is_resumable(self.checkpoint):
            return False
        # The lock is looked at: it is freed a moment after the end.
        return not session.alive if self.gone or state.ended else session.alive and state.stage == "serving"


class EndBell:
    """Ask `rings` after each look at the run. Most terminals then mark the tab that one has turned away from."""

    def __init__(self) -> None:
        self._engine: object = None  # the one that is watched
        self._over = True

    def rings(self, session: RunSession) -> bool:
        """Whether training has ended since the last call, well or not. What was over when one came is no news."""
        state = session.state
        engine, over = (
            (session.folder, state.started),
            bool(state.finished or state.failed or state.ended or session.lost),
        )
        news = engine == self._engine and over and not self._over
        self._engine, self._over = engine, over
        return news
