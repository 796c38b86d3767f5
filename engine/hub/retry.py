"""Fetches from the Hub again when the line broke off: what had arrived is kept, and the rest is asked for."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from engine.hub.errors import hub_problem

TRIES = 4
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds
IDLE_SECONDS = 60.0  # without a byte from the Hub, which would be waited for without end
ENOUGH_SECONDS = 20.0  # the library tried for so long itself: the Hub is down, which no other try mends
_T = TypeVar("_T")


@cache
def resume_after_resets(idle_seconds: float = IDLE_SECONDS) -> None:
    """Have huggingface_hub go on with a download whose connection was reset, as it does with one that was ended.

    It asks for the rest of a file after `RemoteProtocolError`, and begins anew after `ReadError`.
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


def retrying(fetch: Callable[[], _T]) -> _T:
    """What `fetch` returns, called again after failures of the Hub that pass. Raises what it raised last."""
    with suppress(ImportError, AttributeError):  # a version that keeps these elsewhere: without, then
        resume_after_resets()
    wait = FIRST_WAIT
    started = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            return fetch()
        except Exception as error:
            problem = hub_problem(error)
            offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
            if not left or offline or not (problem and problem.passing) or problem.wait > LONGEST_WAIT:
                raise
            if problem.code != "hub_broke_off" and time.monotonic() - started > ENOUGH_SECONDS:
                raise
            traceback.print_exc()  # into the log
            time.sleep(max(wait, problem.wait))
            wait *= 2
    raise AssertionError("the last try returns or raises")
