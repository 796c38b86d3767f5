"""A question from the chat: why it cannot be answered, and its turns as chat templates expect them."""

from collections.abc import Sequence

from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model.loading import Loaded
from engine.protocol.commands import ChatMessage, Generate

NO_BASE = say("All weights were trained, so the base model is not in memory. Load it alone to ask it.")


def check_question(command: Generate, loaded: Loaded) -> None:
    """Raises `UserError` if the model in memory cannot answer."""
    if loaded.scores:
        raise UserError("not_a_writer", say("A reward model scores answers, it does not write them."))
    if command.adapter and not (loaded.has_adapter or loaded.trained):
        raise UserError("not_trained", say("Nothing is trained yet: train first."))
    if loaded.trained and not command.adapter:
        raise UserError("no_base", NO_BASE)
    if loaded.whole and command.other:
        raise UserError("no_adapters", say("All weights of this run were trained: no other adapter fits them."))
    if not command.messages:
        raise UserError("malformed", say("There is nothing to answer."))


def as_dicts(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """Turns in the form that chat templates expect."""
    return [
        {"role": message.role, "content": message.content, **({"input": message.input} if message.input else {})}
        for message in messages
    ]
