"""What the terminal costs, measured in a pty of 120x36: `uv run python -m tests.bench.terminal`.

First paint against a bare Textual app, what is imported, the answer to a key and the bytes on the line while a
run trains. `--replay` takes a scripted run instead of training the demo (which needs the engine's libraries).
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.pty_terminal import Terminal

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("painted")
Bare().run()
"""
ATTACHED = """
import sys
from pathlib import Path
from engine.config.spec_files import load_spec
from engine.runs.folder import RunFolder
from tui.app import LorisApp
app = LorisApp(language="en")
app._start = "live"
folder = RunFolder(Path(sys.argv[1]))
app.link.attach(folder, load_spec(folder.spec))
app.run()
"""
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "unsloth")
ROUNDS = 5
REST_SECONDS = 10
KEYS = b"23451"  # the panes below the plot: each press draws another one
PRESSES = 30


def loris(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "loris"), "--lang", "en", *arguments]


def first_paint(arguments: list[str], text: bytes) -> float:
    """Seconds from the start of the process to its first whole frame."""
    terminal = Terminal(arguments)
    try:
        terminal.wait_for(text)
        return time.perf_counter() - terminal.started
    finally:
        terminal.close()


def compare_first_paint() -> None:
    bare = [sys.executable, "-c", BARE]
    pairs = []
    first_paint(bare, b"painted"), first_paint(loris(), b"fine-tuning")  # warm the disk's cache
    for _ in range(ROUNDS):  # in turns, so that a busy machine slows both
        pairs.append((first_paint(bare, b"painted"), first_paint(loris(), b"fine-tuning")))
    plain, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    report("first paint, bare Textual", f"{plain * 1000:.0f} ms")
    report("first paint, loris", f"{ours * 1000:.0f} ms", f"{ours / plain:.2f} times", ours / plain <= 1.5)


def check_imports() -> None:
    code = f"import sys, tui.app; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    report("heavy imports of tui.app", found or "none", "", not found)


def watch(terminal: Terminal, what: str) -> None:
    """Measure a terminal that shows a run in training."""
    rest = len(terminal.read(REST_SECONDS)) / REST_SECONDS
    report(f"bytes a second at rest, {what}", f"{rest / 1024:.1f} KB/s", "", rest < 10 * 1024)
    times = []
    for number in range(PRESSES):
        while terminal.read(0.06):  # a frame under way would pass for the answer
            pass
        start = time.perf_counter()
        terminal.press(KEYS[number % len(KEYS) : number % len(KEYS) + 1])
        while not terminal.read_some(2.0):
            pass
        times.append((time.perf_counter() - start) * 1000)
    median, worst = statistics.median(times), max(times)
    report(f"from key to screen, {what}", f"{median:.0f} ms", f"slowest of {PRESSES}: {worst:.0f} ms", median < 50)


def real_run() -> None:
    """Train the demo with the engine, as a user does."""
    terminal = Terminal(loris("demo"))
    try:
        terminal.wait_for(b"Start training", 60)
        terminal.read(2)
        terminal.press(b"\x12")  # ctrl+r
        terminal.wait_for(b"left", 300)  # the time left: steps are being made
        watch(terminal, "real training")
        terminal.press(b"x")
        terminal.read(1)
        terminal.press(b"\x1b[C\r")  # right, enter: stop and keep
        terminal.read(3)
    finally:
        terminal.close()
        shut_down_engines()


def shut_down_engines() -> None:
    """End the engines of this measurement's own home, and of no other."""
    from engine.protocol.events import EngineStarted, decode
    from engine.runs.run_list import list_runs

    for run in list_runs():
        if run.alive:
            first = decode(run.folder.events.read_bytes().split(b"\n")[0])
            if isinstance(first, EngineStarted):
                os.kill(first.pid, 15)


def replayed_run() -> None:
    """A scripted run that grows by four steps a second, with a line of log for each."""
    from engine.client.launch import new_run
    from tests.helpers import fake_run

    folder = new_run(fake_run.SPEC)
    writer = subprocess.Popen([sys.executable, "-m", "tests.bench.terminal", "--write", str(folder.path)])
    terminal = Terminal([sys.executable, "-c", ATTACHED, str(folder.path)])
    try:
        terminal.wait_for(b"left")
        terminal.read(3)
        watch(terminal, "replayed run")
    finally:
        terminal.close()
        writer.terminate()
        writer.wait()


def write_run(path: Path) -> None:
    """Be the engine of `replayed_run`."""
    import msgspec

    from engine.protocol.events import encode
    from engine.runs.folder import RunFolder
    from tests.helpers import fake_run

    folder = RunFolder(path)
    handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    start = time.time()
    with folder.events.open("ab", 0) as events, folder.log.open("ab", 0) as log:
        for number, event in enumerate(fake_run.training(2000, 2400)):
            if number > 100:  # the first are there at once
                time.sleep(0.25)
            elapsed = time.time() - start
            events.write(encode(msgspec.structs.replace(event, time=start + elapsed, elapsed=elapsed)))
            log.write(f"{{'loss': {number / 1000}, 'grad_norm': 0.61, 'learning_rate': 0.0002}}\n".encode())


def large_data() -> None:
    """The proof of 50,000 rows, and of five million, which are 2 GB: its time, and each process's memory."""
    for name, arguments in (("50,000 rows", ["50000"]), ("5 million rows", ["5000000", "--small"])):
        command = [sys.executable, "-m", "tests.bench.proof", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        found = json.loads(done.stdout)
        note = f"after {found['start_seconds']:.0f} s of imports; {found['rows']:,} of {found['rows_total']:,} rows"
        report(f"proof of {name}", f"{found['seconds']:.1f} s", note, found["seconds"] < 30)
        report("  peak memory of its worker", f"{found['worker_bytes'] / 2**20:.0f} MB")
        report(
            "  peak memory of who asked", f"{found['own_bytes'] / 2**20:.0f} MB", "", found["own_bytes"] < 300 << 20
        )
        held = found["loop_held_seconds"] * 1000
        report("  longest that it was held up", f"{held:.0f} ms", "", held < 50)


def report(what: str, value: str, note: str = "", good: bool | None = None) -> None:
    verdict = "" if good is None else "ok" if good else "TOO MUCH"
    print(f"{what:<42} {value:>10}  {verdict:<8} {note}".rstrip(), flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", action="store_true", help="do not train, replay a scripted run")
    parser.add_argument("--data", action="store_true", help="only prove large datasets")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_run(options.write)
        return
    if options.data:
        large_data()
        return
    home = Path(tempfile.mkdtemp(prefix="loris-bench-"))
    os.environ["LORIS_HOME"] = str(home)
    try:
        compare_first_paint()
        check_imports()
        if options.replay or importlib.util.find_spec("unsloth") is None:
            replayed_run()
        else:
            real_run()
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
