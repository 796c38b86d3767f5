"""Starts the worker that checks datasets, sends it requests, and ends it at any time."""

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from engine.config.local_paths import non_utf8_paths
from engine.config.run_spec import RunSpec
from engine.messages.message import say
from engine.protocol.data_report import AnyProof, DataReport, ProofFailed, ProofRequest, decode_proof, encode
from engine.runs.python_process import environment, python

MOST_ROWS = 100_000  # of each source; a larger one is sampled
NICENESS = 5  # handling keys has priority
LINE_BYTES = 64 << 20  # the longest line: a report with its examples
LAST_LINES, LINE_END = 8, 400  # of the output of a worker that ended, and the characters of each
OUTPUT_SECONDS = 1.0  # for the rest of that output


class ProofWorker:
    """One worker, kept for the next request: importing Unsloth takes 10 to 30 seconds, once."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._output: deque[str] = deque(maxlen=LAST_LINES)  # the worker's latest, on stderr
        self._reading: asyncio.Task[None] | None = None
        self._number = 0
        self._busy = asyncio.Lock()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def prove(self, spec: RunSpec, most_rows: int | None = MOST_ROWS) -> AsyncGenerator[AnyProof, None]:
        """Yields progress, then one `DataReport` or `ProofFailed`. Close it early, with `aclosing`, and the worker
        stops measuring, ready for the next request."""
        if errors := non_utf8_paths(spec):  # such a request cannot be sent
            first = errors[0]
            yield ProofFailed(number=0, code="not_utf8", message=first.message, field=first.field)
            return
        async with self._busy:
            self._number += 1
            number, ended = self._number, False
            try:
                process = await self._started()
                assert process.stdout
                await self._send(ProofRequest(number=number, spec=spec, most_rows=most_rows))
                while not ended:
                    line = await process.stdout.readline()
                    answer: AnyProof = decode_proof(line) if line else await self._gone(number)
                    if answer.number == number:  # else: the rest of an earlier answer
                        ended = isinstance(answer, DataReport | ProofFailed)
                        yield answer
            except (BrokenPipeError, ConnectionResetError):
                ended = True
                yield await self._gone(number)
            finally:
                if not ended:
                    with suppress(BrokenPipeError, ConnectionResetError):
                        await self._send(ProofRequest(number=0))

    async def _send(self, request: ProofRequest) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(encode(request) + b"\n")
            await self._process.stdin.drain()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *python("-m", "engine.proof"), env=environment(),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                start_new_session=True, limit=LINE_BYTES,
            )  # fmt: skip
            self._output.clear()
            self._reading = asyncio.create_task(self._read_output(self._process))
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        return self._process

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        """Remember the end of what the libraries print; a full pipe would stop the worker."""
        assert process.stderr
        rest = b""
        while data := await process.stderr.read(1 << 16):
            *lines, rest = (rest[-LINE_END:] + data).replace(b"\r", b"\n").split(b"\n")
            self._remember(*lines)
        self._remember(rest)

    def _remember(self, *lines: bytes) -> None:
        self._output.extend(line[-LINE_END:].decode("utf-8", "replace") for line in lines if line.strip())

    async def _gone(self, number: int) -> ProofFailed:
        """The failure to report for a worker that ended; the next request starts another."""
        assert self._process
        code = await self._process.wait()
        if self._reading:
            await asyncio.wait({self._reading}, timeout=OUTPUT_SECONDS)
        return _worker_gone(number, code, tuple(self._output))

    def close(self) -> None:
        """End the worker at once, whatever it is doing."""
        process, self._process = self._process, None
        if self._reading:
            self._reading.cancel()
        if process and process.returncode is None:
            logging.getLogger("asyncio").addFilter(_is_news)
            # Kills it and closes its pipes, which otherwise warn that the event loop closed before them.
            pipes: Any = process
            pipes._transport.close()


def _is_news(record: logging.LogRecord) -> bool:
    """False for asyncio's warning, on the terminal, that a killed worker exited after its event loop."""
    return not str(record.msg).startswith("Loop %r that handles pid")


def _worker_gone(number: int, code: int, output: tuple[str, ...]) -> ProofFailed:
    """`code`: the worker's exit code, negative for a signal. `output`: its last lines."""
    hint = say("It ended with code {code} and printed nothing.", code=code)
    if output:
        hint = say("Its last output (exit code {code}): {output}", code=code, output="\n".join(output))
    if code == -signal.SIGKILL:
        hint = say("It was killed, as Linux does when memory runs out: free some, or take a smaller sample.")
    return ProofFailed(
        number=number,
        code="worker_gone",
        message=say("The process that checks the data ended without a message."),
        hint=hint,
    )
