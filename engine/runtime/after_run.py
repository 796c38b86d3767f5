"""After a run: a notice to a webhook, and a command that the user confirmed.

The webhook's URL comes from the environment, not from the spec: such URLs are secrets, and specs are shared.
"""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Sequence

from engine.config.run_spec import RunSpec
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.runs.consent import has_consent
from engine.runs.folder import RunFolder
from engine.runs.python_process import PYTHON_VARIABLES
from engine.runtime.event_writer import EventWriter

NOTICE_URL = "LORIS_NOTICE_URL"
NOTICE_SECONDS, NOTICE_TRIES = 10, 3
COMMAND_SECONDS = 600


def after_training(folder: RunFolder, spec: RunSpec, missing: Sequence[str], record: EventWriter) -> None:
    """`missing`: what the spec asks for and is not done. The command runs only when there is nothing of it."""
    if missing:
        _after_undelivered(folder, spec, ", ".join(missing), record)
    else:
        after_success(folder, spec, record)


def after_success(folder: RunFolder, spec: RunSpec, record: EventWriter) -> None:
    """Everything that the spec asks for is done: send the notice, then run the command if it was confirmed."""
    _notify(folder, "completed", f"Loris: {folder.name} is trained and saved.", record)
    command = spec.export.after_command.strip()
    if not command:
        return
    if not has_consent(folder, command):
        message = say(
            "The command after the run was not confirmed on this machine for this run, and does not run: {command}",
            command=command,
        )
        record.emit(ev.Notice(code="after_unconfirmed", message=message, level="warning"))
        return
    code, message = _run_command(folder, command)
    record.emit(ev.Notice(code="after_command", message=message, level="warning" if code else "info"))


def _after_undelivered(folder: RunFolder, spec: RunSpec, names: str, record: EventWriter) -> None:
    """Send the notice that names what is missing, and do not run the command."""
    rest = f"Carry out the rest with: loris export {folder.name} --rest"
    text = f"Loris: {folder.name} is trained, but this is missing: {names}. {rest}"
    _notify(folder, "undelivered", text, record)
    if spec.export.after_command.strip():
        message = say("The command after the run does not run, because this is missing: {names}.", names=names)
        record.emit(ev.Notice(code="after_withheld", message=message, level="warning"))


def after_failure(folder: RunFolder, reason: Message, record: EventWriter) -> None:
    """Send the notice that the run failed."""
    _notify(folder, "failed", f"Loris: {folder.name} failed. {reason}", record)


def _run_command(folder: RunFolder, command: str) -> tuple[int, Message]:
    """Returns (exit code, message). The command's output goes to the engine's log."""
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            cwd=folder.path,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in PYTHON_VARIABLES}
            | {"LORIS_RUN": str(folder.path)},
        )
    except OSError as error:
        return 1, say("The command after the run could not be started: {reason}", reason=str(error))
    try:
        code = process.wait(COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return 1, say(
            "The command after the run took more than {seconds} seconds and was ended.", seconds=COMMAND_SECONDS
        )
    return code, say("The command after the run ended with code {code}.", code=code)


def _notify(folder: RunFolder, state: str, text: str, record: EventWriter) -> None:
    """Send a notice to the URL in the environment, if there is one. Never raises."""
    url = os.environ.get(NOTICE_URL, "")
    if not url:
        return
    body = json.dumps({"text": text, "content": text, "run": folder.name, "state": state}).encode()
    reason = ""
    for attempt in range(NOTICE_TRIES):
        time.sleep(attempt)
        try:
            if not url.startswith(("https://", "http://")):
                raise ValueError("no web address")
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=NOTICE_SECONDS):
                record.emit(ev.Notice(code="notified", message=say("The notice was sent.")))
            return
        except (OSError, ValueError) as error:
            # Only the HTTP status or the exception's name: the error's text may contain the URL.
            reason = str(getattr(error, "code", "")) or type(error).__name__
    message = say("The notice could not be sent: {reason}", reason=reason)
    record.emit(ev.Notice(code="notice_failed", message=message, level="warning"))
