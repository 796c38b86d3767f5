"""The JSON schema of a check, from the spec or from a file."""

from typing import Any

import msgspec

from engine.config.json_schema import schema_error
from engine.config.local_paths import local_path
from engine.config.rewards import Json
from engine.messages.errors import UserError
from engine.messages.message import Message, say


def schema_of(check: Json) -> dict[str, Any] | None:
    """The schema of the check; None if any JSON will do. Raises `UserError`."""
    if not check.schema_file:
        return check.schema
    path = local_path(check.schema_file)
    if not path.is_file():
        raise _wrong(say("{entry}: there is no file {path}.", path=str(path)))
    try:
        schema = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise _wrong(
            say("{entry}: {path} cannot be read: {reason}.", path=str(path), reason=error.strerror or "")
        ) from error
    except msgspec.DecodeError as error:
        raise _wrong(
            say("{entry}: {path} is not valid JSON: {reason}.", path=str(path), reason=str(error))
        ) from error
    if reason := schema_error(schema):
        raise _wrong(reason)
    found: dict[str, Any] = schema
    return found


def _wrong(message: Message) -> UserError:
    named = Message(message.template, {"entry": "json", **message.values})
    return UserError("schema_file", named, None, "grpo.rewards")
