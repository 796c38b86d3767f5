"""What Home costs with many runs, in a pty of 120x36: `uv run python -m tests.bench.home`.

Five hundred runs of every end. Prints the seconds until they are on the screen, how soon a key is answered, how far
down one comes with End, and the memory that the terminal's process takes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from engine.client.launch import new_run
from engine.protocol import events as ev
from engine.runs import manifest
from tests.bench.attach import memory_mb
from tests.bench.terminal import loris, report
from tests.helpers import fake_run
from tests.helpers.pty_terminal import Terminal

RUNS = 500
PRESSES = 40
MOST_SECONDS, MOST_MS = 1.0, 50.0


def many_runs(count: int) -> None:
    """So many runs: completed, stopped, failed and interrupted, each with checkpoints, an hour after the other."""
    ends = (
        [*fake_run.finished(), ev.EngineEnded(exit_code=0)],
        [*fake_run.finished("stopped", 30), ev.EngineEnded(exit_code=0)],
        fake_run.failed(),
        fake_run.training(40),
    )
    for number in range(count):
        folder = new_run(msgspec.structs.replace(fake_run.SPEC, name=f"run {number:03}"))
        start = fake_run.START + 3600 * number
        timed = (
            msgspec.structs.replace(event, time=start + n, elapsed=float(n))
            for n, event in enumerate(ends[number % len(ends)])
        )
        folder.events.write_bytes(b"".join(map(ev.encode, timed)))
        for step in (10, 20):
            checkpoint = folder.checkpoints / f"checkpoint-{step}"
            checkpoint.mkdir(parents=True)
            (checkpoint / "adapter_model.safetensors").write_bytes(b"0" * 1000)
            manifest.write_manifest(checkpoint, step)


def paint() -> tuple[float, float]:
    """(seconds from the start of `loris` to its first frame, from then until the runs are listed)."""
    terminal = Terminal(loris())
    try:
        terminal.wait_for(b"fine-tuning", 30)
        first = time.perf_counter() - terminal.started
        return first, terminal.wait_for(f"run {RUNS - 1:03}".encode(), 30)
    finally:
        terminal.close()


def keys() -> tuple[list[float], float, float]:
    """(ms from each key to the screen, ms from End to the oldest run, MB)."""
    terminal = Terminal(loris())
    try:
        terminal.wait_for(f"run {RUNS - 1:03}".encode(), 30)
        terminal.read(2)
        times = []
        for _press in range(PRESSES):
            start = time.perf_counter()
            terminal.press(b"\x1b[B")  # down
            while not terminal.read_some(2.0):
                pass
            times.append((time.perf_counter() - start) * 1000)
            terminal.read(0.25)  # so that the list is read again meanwhile, as it is every few seconds
        terminal.press(b"\x1b[F")
        end = terminal.wait_for(b"run 000", 10) * 1000
        return times, end, memory_mb(terminal.pid, "VmHWM")
    finally:
        terminal.close()


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="loris-bench-"))
    os.environ["LORIS_HOME"] = str(home)
    try:
        many_runs(RUNS)
        paint()  # warms the disk's cache
        rounds = [paint() for _round in range(5)]
        first, listed = (statistics.median(times) for times in zip(*rounds, strict=True))
        report(f"{RUNS} runs: first frame", f"{first:.2f} s", "imports included")
        report("  from it until they are listed", f"{listed:.2f} s", "", listed < MOST_SECONDS)
        report("  from the shell to the list", f"{first + listed:.2f} s")
        times, end, mb = keys()
        median, worst = statistics.median(times), max(times)
        report(
            "  from key to screen", f"{median:.0f} ms", f"slowest of {PRESSES}: {worst:.0f} ms", median < MOST_MS
        )
        report("  from End to the oldest run", f"{end:.0f} ms")
        report("  memory", f"{mb:.0f} MB")
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
