"""`python -m engine.hub.upload_worker`: sends what the job on stdin names, and says how it goes on stdout."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from contextlib import suppress

from engine.hub.errors import HubError
from engine.hub.retry import resume_after_resets
from engine.hub.upload_errors import explain_push
from engine.hub.upload_job import Said, UploadProblem, decode_job, encode

IDLE_SECONDS = 300.0  # without an answer; a large commit takes the Hub its time


def end_with_parent() -> None:
    """End when standard input is closed, as it is when the process that started this one dies."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Push; 0 when all is on the Hub and was compared."""
    lock = threading.Lock()
    # Only messages go to the pipe: whatever a library prints goes to the log.
    pipe = os.dup(1)
    os.dup2(2, 1)

    def report(said: Said) -> None:
        with lock:
            os.write(pipe, encode(said) + b"\n")

    job = decode_job(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        from engine.hub.upload import Upload

        with suppress(ImportError, AttributeError):
            resume_after_resets(IDLE_SECONDS)
        report(Upload(job, report).run())
        return 0
    except Exception as error:
        failure = explain_push(error, job.repo_id, bool(job.token))
        if not isinstance(error, HubError) or error.__cause__:
            traceback.print_exc()  # into the log, where the token is struck out
        report(UploadProblem(**failure.event_fields(), passing=failure.passing))
        return 1


if __name__ == "__main__":
    sys.exit(main())
