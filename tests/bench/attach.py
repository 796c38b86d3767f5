"""What it costs to come back to a long run: `uv run python -m tests.bench.attach`.

Attaches, in a pty of 120x36, to a run of 200,000 logged steps, and to one of 1,000,000 events; prints the seconds
until the whole curve is painted and the memory that the terminal's process takes, at most and when it has settled.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from engine.client.launch import new_run
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tests.bench.terminal import loris, report
from tests.helpers import fake_run
from tests.helpers.pty_terminal import Terminal

STEPS, EVENTS = 200_000, 1_000_000
MOST_SECONDS, MOST_MB = 1.5, 150.0
SETTLE_SECONDS = 7.0


def long_run(steps: int) -> RunFolder:
    """A finished run with so many logged steps, a second apart."""
    spec = msgspec.structs.replace(fake_run.SPEC, name=f"long-{steps}")
    folder = new_run(spec)
    whole = fake_run.finished(steps=0)
    at = next(n for n, event in enumerate(whole) if isinstance(event, ev.TrainingStarted)) + 1
    with folder.events.open("wb") as file:
        for number, event in enumerate(whole[:at]):
            if isinstance(event, ev.TrainingStarted):
                event = msgspec.structs.replace(event, total_steps=steps)
            file.write(
                ev.encode(msgspec.structs.replace(event, time=fake_run.START + number, elapsed=float(number)))
            )
        for step in range(1, steps + 1):
            loss = round(fake_run.loss_at(step % 400) + 100 / (step + 50), 4)
            file.write(
                ev.encode(
                    ev.Step(
                        time=fake_run.START + step, elapsed=float(step), step=step, epoch=step / steps, loss=loss,
                        learning_rate=2e-4 * (1 - step / steps), grad_norm=0.61, tokens_per_second=1834.0,
                        reserved_bytes=5 << 30, peak_reserved_bytes=6 << 30,
                    )
                )
            )  # fmt: skip
        for event in [*whole[at:], ev.EngineEnded(exit_code=0)]:
            if isinstance(event, ev.TrainingFinished):
                event = msgspec.structs.replace(event, steps=steps)
            file.write(ev.encode(msgspec.structs.replace(event, time=fake_run.START + steps, elapsed=float(steps))))
    return folder


def from_the_shell(folder: RunFolder, steps: int) -> tuple[float, float, float]:
    """(seconds from the start of `loris attach` to the whole curve, MB that its process takes then, its peak).

    Watched for longer than Loris waits before it tidies up, so that this counts as well.
    """
    terminal = Terminal(loris("attach", folder.name))
    try:
        terminal.wait_for(f"{steps}/{steps}".encode(), 120)
        seconds = time.perf_counter() - terminal.started
        terminal.read(SETTLE_SECONDS)
        return seconds, memory_mb(terminal.pid, "VmRSS"), memory_mb(terminal.pid, "VmHWM")
    finally:
        terminal.close()


async def inside(folder: RunFolder) -> float:
    """Seconds from the wish to open a run, in Loris, to its whole curve on the screen."""
    from engine.config.spec_files import load_spec
    from tui.app import LorisApp
    from tui.plots.loss_plot import LossPlot

    app = LorisApp(language="en", backend=None)
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.5)
        start = time.perf_counter()
        app.open_run(folder, load_spec(folder.spec))
        while not any(drawn_to_the_end(plot) for plot in app.screen.query(LossPlot)):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return time.perf_counter() - start


def drawn_to_the_end(plot: object) -> bool:
    """Whether the curve reaches the right edge of the plot."""
    rows = getattr(plot, "_rows", [])
    return any(row[-1][1] in ("smooth", "raw") for row in rows[1:-1] if row)


def memory_mb(pid: int, what: str) -> float:
    """The memory that a process takes now (VmRSS), or took at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="loris-bench-"))
    os.environ["LORIS_HOME"] = str(home)
    try:
        folder = long_run(STEPS)
        first, *_ = from_the_shell(folder, STEPS)  # warms the disk's cache, too
        shell, mb, peak = from_the_shell(folder, STEPS)
        seconds = min(asyncio.run(inside(folder)) for _round in range(3))  # a busy machine is no fault of ours
        report(f"attach to {STEPS:,} steps, whole curve", f"{seconds:.2f} s", "", seconds < MOST_SECONDS)
        report("the same from the shell, imports included", f"{shell:.2f} s", f"first time: {first:.2f} s")
        report(f"memory with {STEPS:,} steps", f"{mb:.0f} MB", f"at most {peak:.0f} MB", peak < MOST_MB)
        seconds, mb, peak = from_the_shell(long_run(EVENTS), EVENTS)
        note = f"at most {peak:.0f} MB; painted after {seconds:.1f} s"
        report(f"memory with {EVENTS:,} events", f"{mb:.0f} MB", note, peak < MOST_MB)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
