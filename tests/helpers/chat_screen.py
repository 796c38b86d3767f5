"""A fake engine that answers in the chat, and waiting for the end of its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from textual.pilot import Pilot

from engine.protocol.commands import AnyReply, Command, Done, Generate, Token
from tui.screens.chat import ChatScreen


async def speaks(command: Command) -> AsyncGenerator[AnyReply, None]:
    """Different answers for the base model and the adapter."""
    assert isinstance(command, Generate)
    for word in ("I ", "am ", "Loris." if command.adapter else "Llama."):
        yield Token(id=1, text=word)
    yield Done(id=1, tokens=4, seconds=0.2, finish_reason="eos")


def idle(pilot: Pilot[None]) -> Callable[[], bool]:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return lambda: screen._asking is None
