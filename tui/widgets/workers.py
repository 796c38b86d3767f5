"""Workers that end quietly with their screen.

Textual cancels a screen's workers after it removed the widgets. A worker that still runs in between, or whose
thread returns then, finds no widgets to update. That is not an error: the screen is no longer shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.css.query import NoMatches
from textual.widget import MountError, Widget
from textual.worker import Worker

if TYPE_CHECKING:
    _Base = Widget
else:  # Textual takes a widget's styles from its first base that is a widget: it must not be this one
    _Base = object

WIDGET_GONE = (NoMatches, MountError)  # raised for a widget that was removed


class GuardedWorkers(_Base):
    """Base class for a widget or screen whose workers may briefly outlive its widgets."""

    @property
    def is_here(self) -> bool:
        """Whether its screen is on the stack, so that its widgets exist or will."""
        return self.is_attached and self.app.is_running and self.screen in self.app.screen_stack

    def run_worker(self, work: Any, *arguments: Any, **settings: Any) -> Worker[Any]:
        """As Textual's, but a failure caused by closing the screen ends the worker quietly."""
        return super().run_worker(self._while_here(work), *arguments, **settings)

    def _while_here(self, work: Callable[[], Any] | Awaitable[Any]) -> Any:
        async def wait() -> Any:
            try:
                return await (work() if callable(work) else work)
            except WIDGET_GONE:
                if self.is_here:
                    raise

        def call() -> Any:
            try:
                return work() if callable(work) else None
            except WIDGET_GONE:
                if self.is_here:
                    raise

        plain = callable(work) and not inspect.iscoroutinefunction(work.func if isinstance(work, partial) else work)
        return call if plain else wait
