"""ls, status, logs, stop and resume on prepared run folders and with a fake engine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from engine.client import stop as stopping
from engine.client.launch import launch, new_run
from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.consent import has_consent
from engine.runs.disk_usage import prunable, prune
from engine.runs.folder import RunFolder
from engine.runs.labels import Label, write_label
from engine.runs.run_list import is_alive, summarise
from tests.helpers.run_events import FAILED, SAVED, STARTED, STEP, TRAINING, finished, lock_run, stage, write_run
from tests.helpers.waiting import wait_for
from tui.cli import main
from tui.cli.chat import _resolve_target
from tui.cli.run_choice import find_run
from tui.state.run_status import status_of
from tui.state.settings import Settings, save_settings

TRAINED = [STARTED, stage("training"), TRAINING, STEP]


def checkpoint(folder: RunFolder, step: int, eval_loss: float | None = None) -> None:
    path = folder.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * 1000)
    manifest.write_manifest(path, step, eval_loss)


def timed(*events: ev.AnyEvent, start: float = 1000.0, every: float = 10.0) -> list[ev.AnyEvent]:
    return [msgspec.structs.replace(e, time=start + i * every, elapsed=i * every) for i, e in enumerate(events)]


def status(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, object]:
    assert main.main(["status", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def engine(folder: RunFolder, fake_engine: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A fake engine that trains until it is stopped."""
    fake_engine.setenv("FAKE_PLAY", "until_stop")
    process = launch(folder, "train")
    wait_for(lambda: is_alive(folder) and folder.events.exists() and b'"Step"' in folder.events.read_bytes())
    yield process
    process.kill()
    process.wait()


STATES: list[tuple[str, list[ev.AnyEvent], bytes, bool, dict[str, object]]] = [
    ("interrupted", [STARTED], b"", False, {"exit_code": 137}),
    ("interrupted", TRAINED, b"", False, {"step": 7, "total_steps": 60, "loss": 1.25, "exit_code": 137}),
    ("interrupted", TRAINED, b'{"type":"Step","step":8,"lo', False, {"step": 7}),
    ("interrupted", TRAINED, b"\x00\xff garbage\n[]\n", False, {"step": 7}),
    ("interrupted", [*TRAINED, ev.EngineEnded(exit_code=143)], b"", False, {"exit_code": 143}),
    ("training", TRAINED, b"", True, {"exit_code": None, "failure": None, "alive": True}),
    ("loading", [STARTED, stage("loading")], b"", True, {"step": 0, "loss": None}),
    ("saving", [*TRAINED, stage("saving")], b"", True, {}),
    ("exporting", [*TRAINED, SAVED, stage("exporting")], b"", True, {"trained": True}),
    ("serving", [*TRAINED, finished("completed"), SAVED, stage("serving")], b"", True, {"trained": True}),
    ("completed", [*TRAINED, finished("completed"), SAVED, ev.EngineEnded(exit_code=0)], b"", False,
     {"trained": True, "exit_code": 0, "failure": None}),
    ("stopped", [*TRAINED, finished("stopped"), SAVED, ev.EngineEnded(exit_code=0)], b"", False, {}),
    ("stopped", [*TRAINED, ev.Stopped(mode="discard", stage="training"), ev.EngineEnded(exit_code=0)], b"", False,
     {"stop_mode": "discard", "failure": None}),
    ("failed", [*TRAINED, FAILED, ev.EngineEnded(exit_code=1)], b"", False, {"exit_code": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("word", "events", "tail", "alive", "more"), STATES)
def test_status_reports_every_state(
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
    word: str,
    events: list[ev.AnyEvent],
    tail: bytes,
    alive: bool,
    more: dict[str, object],
):
    folder.events.write_bytes(b"".join(map(ev.encode, events)) + tail)
    lock = lock_run(folder) if alive else None
    try:
        found = status(capsys, folder.name)
        assert found["state"] == word
        assert found["alive"] is alive
        assert {key: found[key] for key in more} == more
        assert main.main(["status", folder.name]) == 0
        assert main.main(["ls"]) == 0
    finally:
        if lock is not None:
            os.close(lock)


def test_status_without_events(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    assert status(capsys, folder.name)["state"] == "starting"  # Python may still be starting
    os.utime(folder.spec, (1, 1))
    found = status(capsys, folder.name)
    assert found["state"] == "interrupted"
    assert found["exit_code"] is None


def test_killed_is_reported_with_how_to_resume(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    write_run(folder, *TRAINED)
    folder.log.write_text("a library's last words\n")
    checkpoint(folder, 5)
    found = status(capsys, folder.name)
    failure = found["failure"]
    assert isinstance(failure, dict)
    assert failure["code"] == "killed"
    assert "137" in failure["message"]
    assert "step 5" in failure["hint"]
    assert failure["log"] == ["a library's last words"]
    assert found["checkpoint"] == 5


def test_failure_carries_code_hint_and_fixes(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    change = Change(field="training.per_device_train_batch_size", value=1)
    failed = ev.Failed(code="out_of_memory", message=say("Full."), hint=say("Less."), changes=(change,))
    write_run(folder, *TRAINED, failed, ev.EngineEnded(exit_code=1))
    failure = status(capsys, folder.name)["failure"]
    assert isinstance(failure, dict)
    assert (failure["code"], failure["message"], failure["hint"]) == ("out_of_memory", "Full.", "Less.")
    assert failure["changes"] == [{"field": "training.per_device_train_batch_size", "value": 1}]


def test_time_and_cost_outlive_engines_and_clocks(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    save_settings(Settings(price_per_hour=3.6, currency="EUR"))
    first = timed(*TRAINED)  # 30 s
    second = timed(STARTED, stage("training"), TRAINING, start=500.0)  # 20 s; the wall clock jumped back
    write_run(folder, *first, *second)
    found = status(capsys, folder.name)
    assert found["seconds"] == 50.0
    assert found["cost"] == pytest.approx(0.05)
    assert main.main(["ls"]) == 0
    assert "0.05 EUR" in capsys.readouterr().out
    lock = lock_run(folder)
    try:
        assert status_of(folder, now=530.0).seconds == 60.0  # ten seconds since its last event
        assert status_of(folder, now=0.0).seconds == 50.0
    finally:
        os.close(lock)


def test_time_of_a_long_run_that_was_resumed_in_its_middle(folder: RunFolder):
    steps = [msgspec.structs.replace(STEP, step=n, time=1000.0 + n, elapsed=float(n)) for n in range(1, 3001)]
    again = [msgspec.structs.replace(step, elapsed=step.elapsed / 2) for step in steps]
    write_run(folder, STARTED, *steps, STARTED, *again)
    assert folder.events.stat().st_size > 400_000
    assert summarise(folder).seconds == 3000 + 1500


def test_frozen_is_reported(engine: subprocess.Popen[bytes], folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    assert status(capsys, folder.name)["frozen"] is False
    engine.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5  # the limit for reporting it
    while not (found := status(capsys, folder.name))["frozen"]:
        assert time.monotonic() < deadline
    assert (found["state"], found["alive"], found["frozen"]) == ("training", True, True)
    assert main.main(["status"]) == 0
    assert "frozen" in capsys.readouterr().out


# Which run is meant


def test_the_run_that_is_meant(spec: RunSpec):
    with pytest.raises(UserError, match="no runs yet"):
        find_run("")
    old, new = new_run(spec), new_run(msgspec.structs.replace(spec, name="other thing"))
    write_run(old, *timed(*TRAINED, start=1000.0))
    write_run(new, *timed(*TRAINED, start=2000.0))
    assert find_run("").folder.path.name == new.name
    with pytest.raises(UserError, match="No run is active"):
        find_run("", live_only=True)
    lock = lock_run(old)
    try:
        assert find_run("").name == old.name
    finally:
        os.close(lock)
    assert find_run(old.name).name == old.name
    assert find_run("oth").name == new.name
    assert find_run("try").name == old.name
    assert find_run(str(old.path)).name == old.name
    with pytest.raises(UserError, match="could be any of these"):
        find_run("20")
    with pytest.raises(UserError, match="could be any of these"):
        _resolve_target("20")
    assert _resolve_target("oth") == str(new.path)  # chat accepts the same names
    assert _resolve_target("nowhere") == "nowhere"
    with pytest.raises(UserError, match="Did you mean other thing"):
        find_run("ohter thing")
    with pytest.raises(UserError, match="loris ls"):
        find_run("zzzzzz")


def test_unknown_runs_are_bad_input(capsys: pytest.CaptureFixture[str]):
    for command in ("status", "logs", "stop", "resume"):
        assert main.main([command, "nix\x1b[31m"]) == 2
        assert "\x1b" not in capsys.readouterr().err


def test_ls(spec: RunSpec, capsys: pytest.CaptureFixture[str]):
    assert main.main(["ls"]) == 0
    assert "no runs yet" in capsys.readouterr().err
    old, new = new_run(spec), new_run(spec)
    write_run(old, *timed(*TRAINED, start=1000.0))
    write_run(new, *timed(*TRAINED, start=2000.0))
    write_label(new, Label(title="renamed \x1b[31m", note="good"))
    lock = lock_run(old)
    try:
        assert main.main(["ls"]) == 0
        head, first, second = capsys.readouterr().out.splitlines()
        assert head.split()[:4] == ["RUN", "TITLE", "STATE", "STEP"]
        assert first.startswith(f"* {old.name}")  # live ones first, though it is older
        assert second.strip().startswith(f"{new.name}  renamed ␛[31m")
        assert "7/60" in first
        assert "1.2500" in first
        assert main.main(["ls", "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert [(one["name"], one["alive"]) for one in values] == [(old.name, True), (new.name, False)]
        assert values[1]["title"] == "renamed \x1b[31m"
        assert values[1]["note"] == "good"
    finally:
        os.close(lock)


def test_five_hundred_runs_are_listed_quickly(spec: RunSpec):
    events = b"".join(map(ev.encode, timed(*TRAINED, *[STEP] * 50)))
    for _number in range(500):
        new_run(spec).events.write_bytes(events)
    start = time.process_time()
    assert main.main(["ls"]) == 0
    first = time.process_time() - start
    start = time.process_time()
    assert main.main(["ls"]) == 0
    assert time.process_time() - start < 2.0, first


def test_logs(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    folder.log.write_text("one\n\x1b]0;evil\x07two\n 45%|##")
    assert main.main(["logs", folder.name]) == 0
    assert capsys.readouterr().out == "one\n␛]0;evil␇two\n 45%|##\n"


def test_logs_follow_to_the_end(
    engine: subprocess.Popen[bytes], folder: RunFolder, capsys: pytest.CaptureFixture[str]
):
    with folder.log.open("a") as log:
        log.write("while it runs\n")
    engine.kill()
    assert main.main(["logs", "-f", folder.name]) == 0
    assert "while it runs" in capsys.readouterr().out


# Stopping


def test_stop_waits_and_prints_what_survived(
    engine: subprocess.Popen[bytes], folder: RunFolder, capsys: pytest.CaptureFixture[str]
):
    checkpoint(folder, 5)
    assert main.main(["stop"]) == 0
    out = capsys.readouterr().out
    assert "has stopped" in out
    assert "checkpoint of step 5 is complete" in out
    assert not is_alive(folder)
    assert main.main(["stop", folder.name]) == 0
    assert "is not running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("play", "option", "code", "words"),
    [
        ("delivering", "--save", 0, "has stopped"),
        ("delivering", "--now", 4, "this is missing: merged_16bit, merged_16bit → drive"),
        ("undelivered", "--save", 4, "this is missing: merged_16bit, merged_16bit → drive"),
    ],
)
def test_stop_carries_out_what_the_spec_promised_unless_told_now(
    folder: RunFolder,
    fake_engine: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    play: str,
    option: str,
    code: int,
    words: str,
):
    """However long that takes, in silence; `--now` skips it and says what is missing."""
    fake_engine.setenv("FAKE_PLAY", play)
    fake_engine.setattr(stopping, "GRACE_SECONDS", {"save": 0.3, "now": 5.0, "discard": 5.0})
    process = launch(folder, "train")
    wait_for(lambda: folder.events.exists() and b'"exporting"' in folder.events.read_bytes())
    assert main.main(["stop", folder.name, option]) == code
    out, err = capsys.readouterr()
    assert words in out + err
    assert ("carried out first" in err) == (option == "--save")
    assert "Terminating" not in err
    assert process.wait(10) == code


def test_stop_of_a_frozen_engine_ends_it_by_force(
    engine: subprocess.Popen[bytes],
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(stopping, "FROZEN_SECONDS", 0.2)
    monkeypatch.setattr(stopping, "GRACE_SECONDS", {"save": 1.0, "now": 1.0, "discard": 1.0})
    engine.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    assert main.main(["stop", folder.name]) == 1
    assert time.monotonic() - start < 30
    out, err = capsys.readouterr()
    assert "stopped by a signal" in err
    assert "was terminated" in out
    assert "Nothing was saved yet" in out
    assert not is_alive(folder)


# Resuming


def test_resume_starts_an_engine_in_resume_mode(
    folder: RunFolder, fake_engine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    fake_engine.setenv("FAKE_PLAY", "until_stop")
    write_run(folder, *TRAINED)
    checkpoint(folder, 5)
    assert main.main(["resume", folder.name, "--set", "training.max_steps=200"]) == 0
    try:
        assert "Resumed from step 5" in capsys.readouterr().out
        assert load_spec(folder.spec).training.max_steps == 200
        assert main.main(["resume", folder.name]) == 2
        assert "is running" in capsys.readouterr().err
    finally:
        assert main.main(["stop", folder.name]) == 0


def test_resume_says_that_the_command_is_not_allowed_on_this_machine(
    folder: RunFolder, fake_engine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A consent inside the folder, from another machine or an older Loris, does not count."""
    fake_engine.setenv("FAKE_PLAY", "until_stop")
    write_run(folder, *TRAINED)
    checkpoint(folder, 5)
    folder.old_consent.write_text(hashlib.sha256(b"shutdown").hexdigest())
    command = ["resume", folder.name, "--set", "export.after_command=shutdown"]
    try:
        assert main.main(command) == 0
        assert "Not allowed on this machine" in capsys.readouterr().err
        assert not has_consent(folder, "shutdown")
        assert main.main(["stop", folder.name]) == 0
        assert main.main([*command, "--allow-command"]) == 0
        assert "Not allowed" not in capsys.readouterr().err
        assert has_consent(folder, "shutdown")
    finally:
        main.main(["stop", folder.name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("lora.r=8", "lora.r: The adapter's shape is fixed"),
        ("training.max_steps=15", "already at step 20"),
        ("training.max_stepz=3", "Did you mean max_steps?"),
        ("training.max_steps", "Write a change as"),
        ("nosuch.thing=1", "nosuch"),
    ],
)
def test_settings_that_may_not_change(
    folder: RunFolder, capsys: pytest.CaptureFixture[str], change: str, words: str
):
    write_run(folder, *TRAINED)
    checkpoint(folder, 20)
    before = folder.spec.read_bytes()
    assert main.main(["resume", folder.name, "--set", change]) == 2
    assert words in capsys.readouterr().err
    assert folder.spec.read_bytes() == before


def test_fewer_epochs_than_were_trained_are_refused(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    write_run(folder, *TRAINED)
    checkpoint(folder, 20)
    (folder.checkpoints / "checkpoint-20" / "trainer_state.json").write_text('{"epoch": 1.5, "global_step": 20}')
    assert main.main(["resume", folder.name, "--set", "training.num_train_epochs=1"]) == 2
    assert "training.num_train_epochs: The run is already at epoch 1.5" in capsys.readouterr().err
    assert not is_alive(folder)


def test_a_complete_run_is_not_resumed(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    write_run(folder, *TRAINED, finished("completed"), SAVED, ev.EngineEnded(exit_code=0))
    assert main.main(["resume", folder.name]) == 2
    assert "complete" in capsys.readouterr().err


# Disk


def test_prune_keeps_the_newest_and_the_best(folder: RunFolder):
    for step, loss in ((5, 2.0), (10, 1.0), (15, 1.5), (20, 1.7)):
        checkpoint(folder, step, loss)
    old, size = prunable(folder)
    assert sorted(path.name for path in old) == ["checkpoint-15", "checkpoint-5"]
    assert prune(folder) == size > 2000
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    assert prune(folder) == 0


def test_attach_refuses_without_a_terminal(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    assert main.main(["attach", folder.name]) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_status_and_list_report_a_restart(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    started = ev.EngineStarted(pid=1, hostname=os.uname().nodename, versions={}, boot_id="another")
    write_run(folder, started, stage("training"), TRAINING, STEP)
    found = status(capsys, folder.name)
    failure = found["failure"]
    assert isinstance(failure, dict)
    assert (failure["code"], failure["exit_code"], found["exit_code"]) == ("rebooted", None, None)
    assert "restarted" in failure["message"]
    assert "first step" in failure["hint"]
    assert main.main(["ls"]) == 0
    assert "interrupted (machine restarted)" in capsys.readouterr().out
    assert main.main(["status", folder.name]) == 0
    assert "The machine was restarted" in capsys.readouterr().out


def test_control_characters_of_a_run_are_escaped_in_json(folder: RunFolder, capsys: pytest.CaptureFixture[str]):
    """C1 too: CSI in one character, which some terminals obey."""
    write_label(folder, Label(title="\x9b31mred\x1b[0m", note="\x85"))
    write_run(
        folder, STARTED, ev.Failed(code="c", message=say("\x9b2J{x}", x="\x9d0;t\x9c")), ev.EngineEnded(exit_code=1)
    )
    for command in (["ls", "--json"], ["status", folder.name, "--json"]):
        assert main.main(command) == 0
        out = capsys.readouterr().out
        assert not set(map(chr, range(0x7F, 0xA0))) & set(out)
        assert "\\u009b31mred" in out
