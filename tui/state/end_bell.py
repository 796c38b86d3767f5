"""Rings when the run that is looked at ends: most terminals then mark the tab that one has turned away from."""

from __future__ import annotations

from tui.state.run_session import RunSession


class EndBell:
    """Ask `rings` after each look at the run."""

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
