"""Starts the worker that checks datasets, sends it requests, and ends it at any time."""

import asyncio
import logging
import os
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


class ProofWorker:
    """One worker, kept for the next request: importing Unsloth takes 10 to 30 seconds, once."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
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
                    if not line:
                        await process.wait()  # the next request starts another worker
                    answer: AnyProof = decode_proof(line) if line else _worker_gone(number)
                    if answer.number == number:  # else: the rest of an earlier answer
                        ended = isinstance(answer, DataReport | ProofFailed)
                        yield answer
            except (BrokenPipeError, ConnectionResetError):
                ended = True
                yield _worker_gone(number)
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
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True, limit=LINE_BYTES,
            )  # fmt: skip
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        return self._process

    def close(self) -> None:
        """End the worker at once, whatever it is doing."""
        process, self._process = self._process, None
        if process and process.returncode is None:
            logging.getLogger("asyncio").addFilter(_is_news)
            # Kills it and closes its pipes, which otherwise warn that the event loop closed before them.
            pipes: Any = process
            pipes._transport.close()


def _is_news(record: logging.LogRecord) -> bool:
    """False for asyncio's warning, on the terminal, that a killed worker exited after its event loop."""
    return not str(record.msg).startswith("Loop %r that handles pid")


def _worker_gone(number: int) -> ProofFailed:
    return ProofFailed(
        number=number,
        code="worker_gone",
        message=say("The process that checks the data ended without a message."),
        hint=say("The memory most likely ran out: free some, or take a smaller sample."),
    )
