"""Retries downloads from the Hub. An interrupted download is resumed."""

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from engine.hub.errors import explain_hub_error

TRIES = 4
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds
IDLE_SECONDS = 60.0  # read timeout; without one, a stalled download would never end
GIVE_UP_SECONDS = 20.0  # the library itself retried for this long: the Hub is down, no more retries
_T = TypeVar("_T")


@cache
def resume_after_resets(idle_seconds: float = IDLE_SECONDS) -> None:
    """Make huggingface_hub resume a download after a connection reset.

    The library resumes after `RemoteProtocolError` but restarts after `ReadError`, so the latter is converted.
    """
    httpx: Any = import_module("httpx")
    hub: Any = import_module("huggingface_hub")
    hook = import_module("huggingface_hub.utils._http").hf_request_event_hook

    class Stream(httpx.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._stream
            except httpx.ReadError as error:
                raise httpx.RemoteProtocolError(str(error) or "the connection was reset") from error

        def close(self) -> None:
            self._stream.close()

    class Client(httpx.Client):  # type: ignore[misc]
        def send(self, request: Any, *, stream: bool = False, **settings: Any) -> Any:
            response = super().send(request, stream=stream, **settings)
            if stream:
                response.stream = Stream(response.stream)
            return response

    hub.set_client_factory(
        lambda: Client(event_hooks={"request": [hook]}, follow_redirects=True, timeout=idle_seconds)
    )


def with_retries(fetch: Callable[[], _T]) -> _T:
    """The result of `fetch`, retried after retryable Hub errors. Raises its last exception."""
    with suppress(ImportError, AttributeError):  # another version of the library: do not resume
        resume_after_resets()
    wait = FIRST_WAIT
    started = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            return fetch()
        except Exception as error:
            problem = explain_hub_error(error)
            offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
            if not left or offline or not (problem and problem.retryable) or problem.wait > LONGEST_WAIT:
                raise
            if problem.code != "hub_broke_off" and time.monotonic() - started > GIVE_UP_SECONDS:
                raise
            traceback.print_exc()  # into the log
            time.sleep(max(wait, problem.wait))
            wait *= 2
    raise AssertionError("the last try returns or raises")
