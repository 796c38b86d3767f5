"""Runs without the wizard: exit codes, what is printed, Ctrl-C, an engine that dies."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from engine.client.follow import EVENT_BYTES
from engine.client.launch import new_run
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.protocol.events import decode
from engine.protocol.state import RunState
from engine.runs.run_list import is_alive, list_runs
from tests.helpers.run_fixtures import FAKE_ENGINE
from tests.helpers.waiting import wait_for
from tui.cli.main import main
from tui.cli.printer import LinePrinter, LivePrinter
from tui.cli.run import Watch

PROGRAM = f"""
import sys
import engine.client.launch as launching
launching.ENGINE = ({str(FAKE_ENGINE)!r},)
from tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def file(tmp_path: Path, spec: RunSpec) -> Path:
    path = tmp_path / "spec.yaml"
    save_spec(path, spec)
    return path


BAD = {
    "malformed": ("training:\n  max_steps: [", r":\d+: This is not valid YAML"),
    "unknown": ("training:\n  learning_rat: 1\n", r":2: training.learning_rat: .*Did you mean learning_rate\?"),
    "range": ("lora:\n  r: 0\n", r":2: lora.r: Give a whole number"),
    "missing data": ("dataset:\n  path: ./gone.json\n", r":2: dataset.path: There is no such file"),
    "empty data": ("dataset:\n  path: ./empty.jsonl\n", r":2: dataset.path: This file is empty"),
    "broken data": ("dataset:\n  path: ./broken.jsonl\n", r":2: dataset.path: Line 1 is not valid JSON"),
    "missing column": (
        "dataset:\n  path: ./good.jsonl\n  output_column: answer\n",
        r':3: dataset.output_column: There is no column "answer". The columns are: instruction, output',
    ),
    "no model": (
        "model:\n  model_name: ./bare\ndataset:\n  path: ./good.jsonl\n",
        r":2: model.model_name: .*not a model.*",
    ),
    "unwritable": (
        "dataset:\n  path: ./good.jsonl\ntraining:\n  output_dir: ./good.jsonl/runs\n",
        r":4: training.output_dir: .* is a file, not a folder",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    what: str, tmp_path: Path, good_data: Path, capfd: pytest.CaptureFixture[str], home: Path
):
    text, pattern = BAD[what]
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken.jsonl").write_text("{\n")
    (tmp_path / "bare").mkdir()
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert main(["run", str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(re.escape(str(path)) + pattern + ".*\n", err), err
    assert not home.exists() or list_runs() == [], "no run was made"


def test_a_spec_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["run", str(tmp_path / "gone.yaml")]) == 2
    assert capfd.readouterr().err == f"{tmp_path}/gone.yaml: There is no such file.\n"


def test_errors_speak_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr("tui.text.errors.render", lambda message: "译文\n两行\x1b[31m")
    assert main(["--lang", "zh", "run", str(tmp_path / "gone.yaml")]) == 2
    assert capfd.readouterr().err == f"{tmp_path}/gone.yaml: 译文 两行␛[31m\n"


def test_a_run_to_its_end(file: Path, fake_engine: object, capfd: pytest.CaptureFixture[str]):
    assert main(["run", str(file)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "step 1/5  loss 3.0000  lr 0.0001  99 tokens/s  memory 2.0 GB" in out
    assert "step 5/5" in out, "the last step is never left out"
    assert re.search(r"Peak reserved\s+3.0 GB \(18.8%\)", out)
    assert re.search(r"For training alone\s+2.0 GB", out)
    assert re.search(r"Training time\s+1:01, 5 steps", out)
    assert re.search(r"Who are you\?.*A base\..*A loris\.", out), "the answers are side by side"
    [run] = list_runs()
    assert run.state == "completed"
    assert f"The trained adapter is in {run.folder.adapter}" in out
    assert "\x1b" not in out
    assert "␛]0;evil␇" in out


def test_a_run_with_something_missing_says_so(
    file: Path, fake_engine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Trained, but not everything was carried away: an exit code and a state of its own, and what is missing."""
    fake_engine.setenv("FAKE_PLAY", "undelivered")
    assert main(["run", str(file)]) == 4
    err = capfd.readouterr().err
    [run] = list_runs()
    assert run.state == "undelivered"
    assert "this is missing: merged_16bit, merged_16bit → drive" in err
    assert f"loris export {run.name} --rest" in err
    assert main(["status", run.name, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["state"], found["exit_code"]) == ("undelivered", 4)
    assert found["undelivered"] == ["merged_16bit", "merged_16bit → drive"]
    assert main(["status", run.name]) == 0
    assert f"loris export {run.name} --rest" in capfd.readouterr().out
    assert main(["ls"]) == 0
    assert "trained, something missing" in capfd.readouterr().out
    assert main(["resume", run.name]) == 2
    assert f"loris export {run.name} --rest" in capfd.readouterr().err


def test_out_of_memory_names_the_values_to_try(
    file: Path, fake_engine: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """In the lines of `loris run` and `loris status` too, not in the JSON alone."""
    fake_engine.setenv("FAKE_PLAY", "memory")
    assert main(["run", str(file)]) == 1
    err = capfd.readouterr().err
    [run] = list_runs()
    assert main(["status", run.name]) == 0
    for text in (err, capfd.readouterr().out):
        assert "Batch size (training.per_device_train_batch_size): 2, Gradient accumulation" in text
        assert (
            f"loris resume {run.name} --set training.per_device_train_batch_size=2 "
            "--set training.gradient_accumulation_steps=4"
        ) in text


def test_json_lines_are_the_events(file: Path, fake_engine: object, capfd: pytest.CaptureFixture[str]):
    assert main(["run", "--json", str(file)]) == 0
    out = capfd.readouterr().out.encode()
    events = [decode(line) for line in out.splitlines()]
    assert isinstance(events[0], ev.EngineStarted)
    assert events[-1] == decode(json.dumps({"type": "EngineEnded", "exit_code": 0, "time": events[-1].time,
                                            "elapsed": events[-1].elapsed}).encode())  # fmt: skip
    assert None not in events


@pytest.mark.parametrize(
    ("play", "code", "words"),
    [
        ("fail", 1, ["The run failed: Out of memory.", "Lower the batch size.", "last words of a library"]),
        ("fail_field", 2, ["spec.yaml:4: model.model_name: No such repository."]),
        ("die", 1, ["The engine was killed (SIGKILL)", "memory runs out", "  | about to vanish", "The whole log:"]),
        ("crash", 1, ["died without a message (exit code 1)", "No module named 'unsloth'"]),
    ],
)
def test_runs_that_end_badly(
    file: Path,
    fake_engine: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    play: str,
    code: int,
    words: list[str],
):
    fake_engine.setenv("FAKE_PLAY", play)
    assert main(["run", str(file)]) == code
    err = capfd.readouterr().err
    for word in words:
        assert word in err
    assert "Traceback" not in "".join(line for line in err.splitlines() if not line.startswith("  | "))


def start(file: Path, play: str, log: Path) -> subprocess.Popen[bytes]:
    """`loris run` as a process of its own, its output in `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "run", str(file)], stdout=out, stderr=out, stdin=subprocess.PIPE,
            env={**os.environ, "FAKE_PLAY": play, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip


def wait_for_text(log: Path, words: str) -> None:
    wait_for(lambda: words in log.read_text(), what=log.read_text)


def test_one_ctrl_c_stops_and_keeps_the_model(file: Path, tmp_path: Path):
    process = start(file, "until_stop", tmp_path / "log")
    wait_for_text(tmp_path / "log", "step 1/5")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 3
    text = (tmp_path / "log").read_text()
    assert "Stopping after this step; the model is kept." in text
    assert "to skip it: loris stop --now" in text
    assert "The trained adapter is in" in text
    assert list_runs()[0].state == "stopped"


def test_ctrl_c_before_there_is_anything_to_keep(file: Path, tmp_path: Path):
    process = start(file, "slow_loading", tmp_path / "log")
    wait_for_text(tmp_path / "log", "Loading the model")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "nothing was trained yet" in (tmp_path / "log").read_text()
    assert not is_alive(list_runs()[0].folder)


def test_a_second_ctrl_c_leaves_the_engine_running(file: Path, tmp_path: Path):
    process = start(file, "until_stop", tmp_path / "log")
    wait_for_text(tmp_path / "log", "step 1/5")
    [run] = list_runs()
    engine = int(re.findall(r'"pid":(\d+)', run.folder.events.read_text())[0])
    try:
        os.kill(engine, signal.SIGSTOP)  # too busy to handle the first
        process.send_signal(signal.SIGINT)
        wait_for_text(tmp_path / "log", "Stopping after this step")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert is_alive(run.folder)
        assert f"kill {engine}" in (tmp_path / "log").read_text()
    finally:
        os.kill(engine, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_line_that_drops_does_not_stop_the_engine(file: Path, tmp_path: Path, number: int):
    process = start(file, "until_stop", tmp_path / "log")
    wait_for_text(tmp_path / "log", "step 1/5")
    [run] = list_runs()
    engine = int(re.findall(r'"pid":(\d+)', run.folder.events.read_text())[0])
    try:
        process.send_signal(number)
        assert process.wait(20) == -number
        assert os.readlink(f"/proc/{engine}/fd/0") == "/dev/null", "nothing of it hangs on this terminal"
        size = run.folder.events.stat().st_size
        time.sleep(0.3)
        assert is_alive(run.folder)
        assert run.folder.events.stat().st_size > size
    finally:
        os.kill(engine, signal.SIGKILL)


def test_sigterm_is_passed_on(file: Path, tmp_path: Path):
    process = start(file, "until_stop", tmp_path / "log")
    wait_for_text(tmp_path / "log", "step 1/5")
    process.terminate()
    assert process.wait(20) == 143
    text = (tmp_path / "log").read_text()
    assert "saves a checkpoint first" in text
    assert "Checkpoint saved at step 1" in text
    assert not is_alive(list_runs()[0].folder)


def test_a_reader_that_leaves_early(file: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "FAKE_PLAY": "complete", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline().startswith(b"Run folder")
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    wait_for(lambda: list_runs()[0].state == "completed", what="the engine continues")


TRAINING = ev.TrainingStarted(total_steps=100, num_train_epochs=1, effective_batch_size=8, optim="o", dtype="d",
                              reserved_bytes=1)  # fmt: skip


def steps(printer: LinePrinter, numbers: range) -> None:
    state = RunState()
    done = (ev.Step(step=n, epoch=0.1, loss=1.0, learning_rate=1e-4, elapsed=float(n)) for n in numbers)
    for event in (ev.StageChanged(stage="training"), TRAINING, *done):
        state.apply(event)
        printer.show(event, state)
        printer.tick(state)


def test_a_quick_run_does_not_flood_a_log():
    out, now = io.StringIO(), iter(x / 10 for x in range(10_000))
    steps(LinePrinter(Console(file=out), clock=lambda: next(now)), range(1, 101))
    lines = [line for line in out.getvalue().splitlines() if line.startswith("step")]
    assert lines[0].startswith("step 1/100")
    assert 5 <= len(lines) <= 12


def test_a_terminal_gets_one_line_drawn_in_place():
    out = io.StringIO()
    printer = LivePrinter(Console(file=out, force_terminal=True, width=80, height=24))
    steps(printer, range(1, 50))
    printer.write("[bold]a line[/nope]")
    printer.close()
    text = out.getvalue()
    assert "49/100" in text
    assert "left" in text
    assert "[bold]a line[/nope]" in text, "markup is text"
    assert "\x1b[?25h" in text, "the cursor is back"


def test_text_from_a_model_is_shown_never_interpreted():
    out = io.StringIO()
    printer = LinePrinter(Console(file=out, width=80))
    state = RunState()
    for adapter in (False, True):
        prompt, answer = "[red]q[/red]\x1b[2J", "a\x9b31m\u202e"
        state.apply(
            ev.Answered(prompt=prompt, answer=answer, adapter=adapter, tokens=1, seconds=1, finish_reason="eos")
        )
    printer.finish(state)
    assert not set("\x1b\x9b\u202e") & set(out.getvalue())
    assert "[red]q[/red]" in out.getvalue()


def test_no_event_is_lost_when_the_engine_is_gone(spec: RunSpec, file: Path):
    folder, out = new_run(spec), io.StringIO()
    steps = (ev.Step(step=n, epoch=0.1, loss=1.0, learning_rate=1e-4) for n in range(1, 30_001))
    folder.events.write_bytes(b"".join(map(ev.encode, (TRAINING, *steps, ev.EngineEnded(exit_code=0)))))
    assert folder.events.stat().st_size > 2 * EVENT_BYTES
    process = subprocess.Popen(["true"])
    process.wait()
    watch = Watch(folder, process, LinePrinter(Console(file=out)), file)
    watch.run()
    assert watch._state.ended


def test_an_old_run_is_not_mistaken_for_this_one(file: Path, spec: RunSpec, fake_engine: object):
    new_run(spec)
    assert main(["run", str(file)]) == 0
    assert len(list_runs()) == 2
