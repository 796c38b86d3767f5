"""The lines of `dataset.role_names`: which role a name in the turns of a chat stands for."""

from collections.abc import Sequence

from engine.messages.message import Message, say

ROLES = ("system", "user", "assistant", "tool")


def role_names(lines: Sequence[str]) -> dict[str, str]:
    """The role of each name, in lower case. Invalid lines are skipped."""
    pairs = [(name.strip().lower(), role.strip()) for name, _, role in (line.rpartition("=") for line in lines)]
    return {name: role for name, role in pairs if name and role in ROLES}


def role_name_error(line: str) -> Message | None:
    """Why a line is not valid, or None."""
    if role_names((line,)):
        return None
    return say(
        "Write a line as {example}. The roles are {roles}.", example="Alice=assistant", roles=", ".join(ROLES)
    )
