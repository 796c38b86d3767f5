"""A user's Python file of reward functions: which it has, found without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from engine.messages.errors import UserError
from engine.messages.message import say

FIELD = "grpo.rewards_file"
MOST_BYTES = 1 << 20


def read_reward_file(path: Path) -> bytes:
    """The content of the file. Raises `UserError`."""
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        message = say("{path} cannot be read: {reason}.", path=str(path), reason=error.strerror or str(error))
        raise UserError("rewards_file", message, None, FIELD) from error
    if content is None:
        raise UserError("rewards_file", say("There is no file {path}.", path=str(path)), None, FIELD)
    if len(content) > MOST_BYTES:
        raise UserError("rewards_file", say("{path} is too large for a Python file.", path=str(path)), None, FIELD)
    return content


def functions_in(content: bytes, path: Path) -> list[str]:
    """The names of the reward functions: at the top level, without a leading underscore. Raises `UserError`."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line, reason = getattr(error, "lineno", None) or 1, getattr(error, "msg", "") or str(error)
        message = say(
            "{path}, line {line}: this is not Python: {reason}.", path=path.name, line=line, reason=reason
        )
        raise UserError("rewards_file", message, None, FIELD) from error
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    if not found:
        message = say("{path} has no function such as: def short(completion): return 1.0", path=path.name)
        raise UserError("rewards_file", message, None, FIELD)
    return list(dict.fromkeys(found))
