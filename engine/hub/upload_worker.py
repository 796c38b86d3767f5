"""`python -m engine.hub.upload_worker`: uploads the job from stdin, reports progress on stdout."""

import os
import sys
import threading
import traceback
from contextlib import suppress

from engine.hub.errors import HubError
from engine.hub.retry import resume_after_resets
from engine.hub.upload_errors import explain_push_error
from engine.hub.upload_job import UploadMessage, UploadProblem, decode_job, encode

IDLE_SECONDS = 300.0  # without a response; the Hub needs time for a large commit


def exit_with_parent() -> None:
    """Exit when standard input is closed: the parent process died or closed it."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Push. Exit code 0 if everything was uploaded and verified, else 1."""
    lock = threading.Lock()
    # Only messages go to the pipe; output of libraries goes to the log.
    pipe = os.dup(1)
    os.dup2(2, 1)

    def report(message: UploadMessage) -> None:
        with lock:
            os.write(pipe, encode(message) + b"\n")

    job = decode_job(sys.stdin.buffer.readline())
    threading.Thread(target=exit_with_parent, daemon=True).start()
    try:
        from engine.hub.upload import Upload

        with suppress(ImportError, AttributeError):
            resume_after_resets(IDLE_SECONDS)
        report(Upload(job, report).run())
        return 0
    except Exception as error:
        failure = explain_push_error(error, job.repo_id, bool(job.token))
        if not isinstance(error, HubError) or error.__cause__:
            traceback.print_exc()  # into the log, where the token is struck out
        report(UploadProblem(**failure.event_fields(), retryable=failure.retryable))
        return 1


if __name__ == "__main__":
    sys.exit(main())
