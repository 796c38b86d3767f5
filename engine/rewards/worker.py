"""`python -m engine.rewards.worker`: runs the functions of a user's file, for one engine.

The first request has the file's content, which is what the user allowed. The file gets an empty standard input, and
its output goes to the standard error, so that neither can disturb the requests.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import IO, Any

import msgspec

from engine.messages.message import Message, say
from engine.rewards.reward import AnswerSample

MODULE = "rewards_file"
NAMES = ("prompt", "completion", "answer", "row")  # what a function can ask for, of one answer
LIST_NAMES = ("prompts", "completions")  # as TRL's reward functions, of all answers
ORPHAN_SECONDS = 1.0


class Start(msgspec.Struct, frozen=True):
    """`content`: of the file at `path`. `functions`: the names of its reward functions."""

    content: bytes
    path: str
    functions: list[str]


class Call(msgspec.Struct, frozen=True):
    """Score these answers by a function; one, unless it takes lists."""

    function: str
    samples: list[AnswerSample]


class WorkerReply(msgspec.Struct, frozen=True):
    """`takes_lists`: to `Start`, for each function, whether it takes lists as TRL's do. `scores`: to `Call`.

    `wrong`: why what a function asks for or returned cannot be used; a template with {file} and {function}.
    `error`, `line`: what was raised, and where in the file; 0 if not in the file.
    """

    takes_lists: dict[str, bool] = {}
    scores: list[float | None] = []
    wrong: Message | None = None
    error: str = ""
    line: int = 0


class Unusable(Exception):
    """What a function asks for or returned cannot be used."""

    def __init__(self, message: Message) -> None:
        self.message = message


def main() -> None:
    requests, replies = _take_pipes()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    start = msgspec.json.decode(requests.readline(), type=Start)
    module = ModuleType(MODULE)
    module.__file__ = start.path
    sys.modules[MODULE] = module
    _reply(replies, _load(module, start))
    for line in requests:
        _reply(replies, _call(module, start.path, msgspec.json.decode(line, type=Call)))


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the engine, out of reach of the file: it gets an empty input, and the log for its output."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _end_with_parent(parent: int) -> None:
    """A function that hangs must not outlive an engine that was killed."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _reply(replies: IO[bytes], reply: WorkerReply) -> None:
    replies.write(msgspec.json.encode(reply) + b"\n")
    replies.flush()


def _load(module: ModuleType, start: Start) -> WorkerReply:
    try:
        exec(compile(start.content, start.path, "exec"), module.__dict__)
        return WorkerReply(takes_lists={name: _takes_lists(getattr(module, name)) for name in start.functions})
    except BaseException as error:  # SystemExit too: the reply says so
        return WorkerReply(error=_describe(error), line=_line(error, start.path))


def _takes_lists(function: Callable[..., object]) -> bool:
    return any(name in inspect.signature(function).parameters for name in LIST_NAMES)


def _call(module: ModuleType, path: str, call: Call) -> WorkerReply:
    function = getattr(module, call.function)
    try:
        if _takes_lists(function):
            returned = function(**_arguments(function, _columns(call.samples)))
            if isinstance(returned, str) or not hasattr(returned, "__len__"):
                raise Unusable(
                    say("{file}: {function} returned {value}, not a list of numbers.", value=_shown(returned))
                )
            return WorkerReply(scores=[_score(value) for value in returned])
        values = call.samples[0]._asdict()
        return WorkerReply(scores=[_score(function(**_arguments(function, values))) for _ in call.samples])
    except Unusable as error:
        return WorkerReply(wrong=error.message)
    except BaseException as error:
        return WorkerReply(error=_describe(error), line=_line(error, path))


def _columns(samples: Sequence[AnswerSample]) -> dict[str, list[Any]]:
    """The samples as TRL gives them: lists, with the columns of the rows."""
    rows = [sample.row for sample in samples]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(key for row in rows for key in row)}
    return {
        **columns,
        "prompts": [sample.prompt for sample in samples],
        "completions": [sample.completion for sample in samples],
        "answer": [sample.answer for sample in samples],
        "row": rows,
    }


def _arguments(function: Callable[..., object], values: dict[str, Any]) -> dict[str, Any]:
    """The values that a function asks for by name. Raises `Unusable` if it asks for another."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return values
    asked = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
    for one in asked:
        if one.name not in values and one.default is one.empty:
            message = say("{file}: {function} asks for {name}; there is: {names}.",
                          name=one.name, names=", ".join(values))  # fmt: skip
            raise Unusable(message)
    return {one.name: values[one.name] for one in asked if one.name in values}


def _score(value: Any) -> float | None:
    """The number that a function returned; None if the reward does not apply. Raises `Unusable`."""
    if value is None:
        return None
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(say("{file}: {function} returned {value}, not a number.", value=_shown(value))) from None
    if not math.isfinite(number):
        raise Unusable(say("{file}: {function} returned {value}: a score must be finite.", value=str(number)))
    return number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _describe(error: BaseException) -> str:
    """The type of an exception and the last line of its text."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__


def _line(error: BaseException, path: str) -> int:
    """The innermost line of the file that an exception passed; 0 for none."""
    frames: Iterator[Any] = traceback.walk_tb(error.__traceback__)
    return next((line for frame, line in reversed(list(frames)) if frame.f_code.co_filename == path), 0)


if __name__ == "__main__":
    main()
