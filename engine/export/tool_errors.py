"""Explains why a llama.cpp program, or a check in its own process, failed."""

import errno
import os
import re
import shutil
import signal

from engine.export.cancellation import ToolFailed
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.runs.folder import RunFolder
from engine.runs.machine_errors import DISK_FULL_WORDS, disk_full

LITTLE_BYTES = 8 << 20  # with less than this, a disk counts as full
_SHORT = re.compile(r"\d+ requested and \d+ written")  # numpy's message for any failed write
_FULL = (*DISK_FULL_WORDS, os.strerror(errno.EFBIG), "iostream error", "failed to write")


def explain_tool_error(error: ToolFailed, folder: RunFolder) -> UserError:
    """A program's failure, as an error of the export."""
    said = "\n".join(error.tail)
    full = error.code == -signal.SIGXFSZ or any(word in said for word in _FULL)
    full = full or bool(_SHORT.search(said)) or shutil.disk_usage(folder.path).free < LITTLE_BYTES
    if full:
        return UserError("disk_full", disk_full(None), say("Free some space, or choose another folder."))
    if error.code == -signal.SIGKILL:
        return UserError(
            "tool_killed",
            say("{program} was killed: most likely the memory ran out.", program=error.program),
            say("Free some memory and try again."),
        )
    if "is not supported" in said and "odel" in said:
        return UserError(
            "architecture_unknown",
            say("This llama.cpp does not support the model's architecture: get a newer one."),
        )
    return UserError(
        "tool_failed",
        say("{program} failed: {reason}", program=error.program, reason=(error.tail or [str(error)])[-1][:300]),
        say("The end of engine.log has the details."),
    )
