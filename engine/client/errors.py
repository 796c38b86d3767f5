"""What can go wrong between the terminal and an engine, worded for the person at the terminal."""

from __future__ import annotations

from engine.messages.message import Message


class ClientError(Exception):
    """Something the client could not do. `message` says it in a sentence, `hint` what to do about it."""

    def __init__(self, message: Message, hint: Message | None = None) -> None:
        self.message, self.hint = message, hint
        super().__init__(str(message))


class EngineGone(ClientError):
    """No engine answers for this run: none was started, it has ended, or it died."""


class NotATarget(ClientError):
    """What the user named is no run or folder that can be asked."""


class CommandRefused(ClientError):
    """The engine did not carry a command out. `field` names the setting to blame, where one is."""

    def __init__(self, message: Message, code: str = "", field: str = "") -> None:
        self.code, self.field = code, field
        super().__init__(message)


class DiscardRefused(ClientError):
    """A run folder was not deleted, and nothing in it was touched."""
