"""Work of a screen that ends with the screen.

Textual cancels a screen's workers once its widgets are gone, so one that goes on in between, or whose thread comes
back then, finds none of the widgets that it is to tell. That is no failure: nobody looks any more.
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
else:  # Textual takes a widget's styles from the first of its bases that is a widget: this must not be it
    _Base = object

GONE = (NoMatches, MountError)  # what is raised for a widget that is not there any more


class Working(_Base):
    """Put this first among the bases of a widget or screen whose workers may outlive its widgets by a moment."""

    @property
    def is_here(self) -> bool:
        """Whether its screen is on the stack, and so has its widgets or will have them."""
        return self.is_attached and self.app.is_running and self.screen in self.app.screen_stack

    def run_worker(self, work: Any, *arguments: Any, **settings: Any) -> Worker[Any]:
        """As Textual's; what fails because the screen is being left ends the work in silence."""
        return super().run_worker(self._while_here(work), *arguments, **settings)

    def _while_here(self, work: Callable[[], Any] | Awaitable[Any]) -> Any:
        async def wait() -> Any:
            try:
                return await (work() if callable(work) else work)
            except GONE:
                if self.is_here:
                    raise

        def call() -> Any:
            try:
                return work() if callable(work) else None
            except GONE:
                if self.is_here:
                    raise

        plain = callable(work) and not inspect.iscoroutinefunction(work.func if isinstance(work, partial) else work)
        return call if plain else wait
