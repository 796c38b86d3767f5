"""Passes keys on one at a time, so that each acts on what the one before it left.

Textual posts a key to the widget in focus and takes the next one at once; moving the focus, opening a dialog or
changing the screen takes effect several messages later. Over SSH keys come in bursts: without this, some would
still reach the old widget, or a screen that has none in focus yet, where they are lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from textual import events
from textual.app import App, ScreenStackError
from textual.message_pump import MessagePump
from textual.widgets import Input, TextArea

PALETTE = "--command-palette"
CHECK_SECONDS = 0.1  # between checks whether a widget that is waited for still exists
PATIENCE_SECONDS = 20.0  # a key acts even if a handler takes longer than this, so that nothing locks the keyboard

Typed = events.Key | events.Paste


class KeyQueue:
    """The keys and pasted texts of an app that have not acted yet."""

    def __init__(self, app: App[Any], act: Callable[[Typed], Awaitable[None]]) -> None:
        """`act`: Textual's own handling of a key; it is called in the app's message loop."""
        self._app, self._act = app, act
        self._waiting: deque[Typed] = deque()
        self._task: asyncio.Task[None] | None = None
        self._only_text = False  # the last key went into an editor, so it moved nothing

    def put(self, typed: Typed) -> None:
        """Let a key act once all before it have had their effects."""
        self._waiting.append(typed)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    def close(self) -> None:
        """Drop what has not acted yet."""
        self._waiting.clear()
        if self._task:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            with suppress(TimeoutError, ScreenStackError):  # without a screen the app is ending
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._settle()
            typed = self._waiting.popleft()
            self._only_text = isinstance(self._app.focused, Input | TextArea) and _is_text(typed)
            self._app.call_later(self._act, typed)
            await self._until(self._app, self._app.call_later)

    async def _settle(self) -> None:
        """Wait until no message is on its way from the focus to the app, and focus and screen stay as they are."""
        refreshed = self._app.screen if self._only_text else None
        while True:
            screen, focused = self._app.screen, self._app.focused
            way = (focused or screen).ancestors_with_self
            for node in way:
                await self._until(node, node.call_later)
            if refreshed is not screen:  # the focus may be moved after that
                refreshed = screen
                await self._until(screen, screen.call_after_refresh)
            elif self._searching():
                await asyncio.sleep(CHECK_SECONDS / 10)
            elif (self._app.screen, self._app.focused) == (screen, focused) and not any(
                node.message_queue_size for node in way
            ):
                return

    def _searching(self) -> bool:
        """Whether the command palette is in front, and its worker has not found everything yet."""
        front = self._app.screen
        return front.id == PALETTE and any(one.node is front and not one.is_finished for one in self._app.workers)

    async def _until(self, node: MessagePump, call: Callable[[Callable[[], None]], bool]) -> None:
        """Wait until `call` of a node calls back; not if the node is removed meanwhile."""
        done = asyncio.Event()
        if not call(done.set):
            return
        while not done.is_set() and (node.is_attached or node is self._app):
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), CHECK_SECONDS)


def _is_text(typed: Typed) -> bool:
    return isinstance(typed, events.Key) and typed.is_printable
