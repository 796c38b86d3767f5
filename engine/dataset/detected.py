"""What the detection found: the format of some rows, and other ways to read them."""

import msgspec

from engine.config.fields import FieldError
from engine.dataset.mapping import Kind, Mapping
from engine.messages.message import Message

GUESS = 0.6  # a format of which Loris is not surer than this is a guess, of which the report warns


class Alternative(msgspec.Struct, frozen=True):
    """Another way to read the same rows: the dataset settings that select it."""

    label: Message
    settings: dict[str, str]


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """The format of some rows. `confidence`: 0 to 1. `problem`: why they cannot be used."""

    mapping: Mapping
    variant: str
    confidence: float
    why: Message
    alternatives: tuple[Alternative, ...] = ()
    problem: FieldError | None = None

    @property
    def kind(self) -> Kind:
        return self.mapping.kind
