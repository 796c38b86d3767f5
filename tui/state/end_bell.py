"""Rings when the run that is looked at ends: most terminals then mark the tab that one has turned away from."""

from __future__ import annotations

from tui.state.run_session import EngineLink


class EndBell:
    """Ask `rings` after each look at the run."""

    def __init__(self) -> None:
        self._engine: object = None  # the one that is watched
        self._over = True

    def rings(self, link: EngineLink) -> bool:
        """Whether training has ended since the last call, well or not. What was over when one came is no news."""
        state = link.state
        engine, over = (
            (link.folder, state.started),
            bool(state.finished or state.failed or state.ended or link.lost),
        )
        news = engine == self._engine and over and not self._over
        self._engine, self._over = engine, over
        return news
