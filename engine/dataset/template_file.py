"""A chat template from a file on this machine: read, and tried before it is used."""

import os
import stat
import subprocess
from functools import lru_cache

from engine.config.local_paths import local_path
from engine.dataset.limits import unreadable
from engine.dataset.row_file import missing_file
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.runs.python_process import environment, python

MOST_BYTES = 256 << 10  # the longest templates of models have 20 KB
TRIAL_SECONDS = 20  # of a process that may compute for 5, on a busy machine
FIELD = "dataset.chat_template"
NOT_TEXT = say("A chat template is a file of text in UTF-8.")


def read_template(name: str) -> str:
    """The text of a template file, which renders a short conversation. Raises `UserError`."""
    path = local_path(name)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _error(NOT_TEXT)
            data = file.read(MOST_BYTES + 1)
        source = data.decode()
    except FileNotFoundError:
        raise _error(missing_file(path)) from None
    except (OSError, ValueError) as error:
        raise _error(unreadable(error) if isinstance(error, OSError) else NOT_TEXT) from None
    if len(data) > MOST_BYTES:
        raise _error(say("This file is too large for a chat template."))
    if message := _problem(source):
        raise _error(message)
    return source


@lru_cache(maxsize=8)
def _problem(source: str) -> Message | None:
    """Why a template renders no conversation, or None."""
    try:
        done = subprocess.run(
            python("-m", "engine.dataset.template_trial"), env=environment(), input=source, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TRIAL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return say("This chat template takes too much time or memory for two short turns.")
    if done.returncode == 0:
        return None
    if reason := done.stdout.strip():
        return say("This chat template fails: {reason}", reason=reason)
    return say("This chat template takes too much time or memory for two short turns.")


def _error(message: Message) -> UserError:
    return UserError("template_file", message, say("Use a file as models have it: chat_template.jinja."), FIELD)
