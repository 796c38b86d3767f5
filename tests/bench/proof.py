"""What the proof of a large dataset costs: `python -m tests.bench.proof ROWS [--small]` prints it as JSON.

It writes the rows, proves them with a worker as the terminal does, and removes them. Rows are of Alpaca's size
(about 660 bytes), or with `--small` of 400, of which five million are 2 GB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine.client.proof_worker import ProofWorker
from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.protocol.data_report import DataReport, ProofProgress, at_length
from tests.helpers.engine_process import with_changes

TEXT = (
    "the of and to in is that for it as with was on be by are from this which or have an they model learns writes "
    "answers question explain describe small large river mountain history science simple example reason because "
    "however number list first second third people water light energy system computer language music"
)
TEXTS = 512
BLOCK = 50_000


def lines(rows: int, words: int) -> Iterator[str]:
    """Blocks of JSON lines, no two alike."""
    rng = random.Random(3407)
    vocabulary = TEXT.split()
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(words // 2, words * 3 // 2))) for _ in range(TEXTS)]
    for start in range(0, rows, BLOCK):
        yield "".join(
            f'{{"instruction": "Question {n}: what is {n} plus {n % 97}?", "input": "", '
            f'"output": "{texts[n * 7919 % TEXTS]} {n}."}}\n'
            for n in range(start, min(rows, start + BLOCK))
        )


def own_peak() -> int:
    """The most memory this process ever had, in bytes. (`ru_maxrss` starts with what whoever forked it had.)"""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


async def prove(spec: RunSpec) -> dict[str, float]:
    """Costs in seconds and bytes: of the worker, its start apart, and of this process, which only waits for it."""
    worker, held, last = ProofWorker(), 0.0, time.monotonic()

    async def watch() -> None:
        nonlocal held, last
        while True:
            await asyncio.sleep(0.005)
            held, last = max(held, time.monotonic() - last - 0.005), time.monotonic()

    watching, started, ready, report = asyncio.create_task(watch()), time.monotonic(), 0.0, None
    try:
        async with aclosing(worker.prove(spec)) as answers:
            async for answer in answers:
                if isinstance(answer, ProofProgress):
                    ready = ready or (time.monotonic() - started if answer.stage != "importing" else 0.0)
                else:
                    report = answer
        whole = time.monotonic() - started
        assert isinstance(report, DataReport), report
        began = time.monotonic()
        at_length(report, 300)
        moved = time.monotonic() - began
    finally:
        watching.cancel()
        worker.close()
    return {
        "rows_total": report.rows_total, "rows": report.rows, "exact": report.exact, "sampled": report.sampled,
        "duplicates": report.duplicate_rows, "tokens": report.tokens, "start_seconds": ready,
        "seconds": whole - ready, "worker_bytes": report.peak_bytes,
        "own_bytes": own_peak(),
        "loop_held_seconds": held, "line_moved_seconds": moved, "answer_bytes": len(msgspec.json.encode(report)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    preset = find_preset("demo")
    assert preset
    assert preset.spec
    with tempfile.TemporaryDirectory(prefix="loris-proof-") as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w") as file:
            file.writelines(lines(options.rows, 55 if options.small else 100))
        spec = with_changes(preset.spec, dataset={"path": str(path)})
        found = {"file_bytes": path.stat().st_size, **asyncio.run(prove(spec))}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
