"""Starts the upload process, passes it the job through a pipe and forwards its progress."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import msgspec

from engine.hub.errors import HubError
from engine.hub.upload_job import PushJob, UploadProblem, UploadProgress, UploadResult, decode_message, encode
from engine.messages.message import say
from engine.runs.python_process import environment, python

GRACE_SECONDS = 5.0
_TOKENS = re.compile(r"\b(hf|api_org|hf_oauth|hf_jwt)_[A-Za-z0-9_.-]{8,}")
OFFLINE_MARK = "LORIS_WENT_OFFLINE"  # set by an engine that found no network when it started


def redact(text: str, *secrets: str) -> str:
    """The text with the secrets, and everything that looks like a token, replaced by ***."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _TOKENS.sub("***", text)


class UploadProcess:
    """One upload in a separate process. `run` it once; `cancel` it from any thread."""

    def __init__(self, job: PushJob, log: IO[str] | None = None) -> None:
        """`log`: receives the output of the libraries, with tokens redacted; None is standard error."""
        self.job, self._log = job, log or sys.stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Cancel the upload. Nothing is committed; the Hub keeps transferred files for the next try."""
        self._cancelled.set()
        if self._process:
            with suppress(OSError):
                self._process.kill()

    def run(self, on_progress: Callable[[UploadProgress], None]) -> UploadResult:
        """Upload and verify. Raises `HubError`, with code cancelled after `cancel`."""
        variables = {**environment(), "HF_HUB_DISABLE_TELEMETRY": "1"}
        if variables.pop(OFFLINE_MARK, None):
            variables.pop("HF_HUB_OFFLINE", None)  # the network may be back
        self._process = process = subprocess.Popen(
            python("-m", "engine.hub.upload_worker"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        threading.Thread(target=self._copy_log, args=(process.stderr,), daemon=True).start()
        if self._cancelled.is_set():
            process.kill()
        last: UploadResult | UploadProblem | None = None
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(encode(self.job) + b"\n")
                process.stdin.flush()
            for line in process.stdout:
                with suppress(msgspec.DecodeError):
                    message = decode_message(redact(line.decode(), self.job.token))
                    if isinstance(message, UploadProgress):
                        on_progress(message)
                    else:
                        last = message
        finally:
            with suppress(OSError):
                process.stdin.close()  # the process exits then, if it still runs
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self._outcome(last)

    def _outcome(self, last: UploadResult | UploadProblem | None) -> UploadResult:
        if isinstance(last, UploadResult):
            return last
        if self._cancelled.is_set():
            raise HubError("cancelled", say("The push was cancelled."))
        if last is None:
            raise HubError(
                "push_died",
                say("The upload process ended early."),
                say("Push again: files that arrived are not sent twice."),
                retryable=True,
            )
        raise last.as_error()

    def _copy_log(self, lines: IO[bytes] | None) -> None:
        for line in lines or ():
            self._log.write(redact(line.decode("utf-8", "replace"), self.job.token))
            self._log.flush()
