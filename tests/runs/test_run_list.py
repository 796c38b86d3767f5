"""The list of runs: the state of each, read cheaply, and what may be deleted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engine.client.launch import launch, new_run
from engine.config.paths import runs_folder
from engine.config.run_spec import RunSpec, TrainingSpec
from engine.messages.errors import UserError
from engine.protocol import events as ev
from engine.runs import manifest, restarts
from engine.runs import run_list as listing
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import terminate
from engine.runs.run_list import delete_drafts, delete_run, is_alive, list_runs, summarise
from tests.helpers.run_events import (
    ENDED,
    FAILED,
    SAVED,
    STARTED,
    STEP,
    TRAINING,
    finished,
    lock_run,
    stage,
    write_run,
)
from tests.helpers.waiting import wait_for
from tui.cli.main import main


def test_alive_while_the_lock_is_held(folder: RunFolder):
    assert not is_alive(folder)
    handle = lock_run(folder)
    assert is_alive(folder)
    assert is_alive(folder), "testing the lock does not release it"
    os.close(handle)
    assert not is_alive(folder)
    assert not is_alive(RunFolder(Path("/nowhere")))


def test_alive_until_killed(folder: RunFolder, fake_engine: pytest.MonkeyPatch):
    fake_engine.setenv("FAKE_PLAY", "until_stop")
    process = launch(folder, "train")
    try:
        wait_for(lambda: is_alive(folder))
        assert summarise(folder).alive
    finally:
        process.kill()
        process.wait()
    assert not is_alive(folder)
    assert summarise(folder).state == "interrupted"


MISSING = ev.Undelivered(missing=("merged_16bit",))
DEAD: list[tuple[str, list[ev.AnyEvent]]] = [
    ("interrupted", [STARTED]),
    ("interrupted", [STARTED, stage("training"), TRAINING, STEP]),
    ("interrupted", [STARTED, stage("training"), TRAINING, STEP, ev.EngineEnded(exit_code=143)]),
    ("interrupted", [STARTED, TRAINING, STEP, finished("completed"), stage("saving")]),
    ("failed", [STARTED, stage("loading"), FAILED, ev.EngineEnded(exit_code=1)]),
    ("failed", [STARTED, TRAINING, finished("completed"), stage("saving"), FAILED, ENDED]),
    ("completed", [STARTED, TRAINING, STEP, finished("completed"), SAVED, ENDED]),
    ("stopped", [STARTED, TRAINING, STEP, finished("stopped"), SAVED, ENDED]),
    ("completed", [STARTED, TRAINING, finished("completed"), SAVED, stage("serving")]),
    ("undelivered", [STARTED, TRAINING, finished("stopped"), SAVED, MISSING, ENDED]),
    ("undelivered", [STARTED, TRAINING, finished("completed"), SAVED, MISSING, ENDED, STARTED, ENDED]),
    ("completed", [STARTED, TRAINING, finished("completed"), SAVED, MISSING, ev.Undelivered(), ENDED]),
    ("completed", [STARTED, TRAINING, finished("completed"), SAVED, ENDED, STARTED, FAILED, ENDED]),
]


@pytest.mark.parametrize(("state", "events"), DEAD)
def test_state_of_a_dead_engine(folder: RunFolder, state: str, events: list[ev.AnyEvent]):
    write_run(folder, *events)
    assert summarise(folder).state == state


@pytest.mark.parametrize("name", ["loading", "ready", "preparing", "training", "saving", "serving", "exporting"])
def test_state_of_a_live_engine_is_its_stage(folder: RunFolder, name: ev.Stage):
    write_run(folder, STARTED, stage(name))
    handle = lock_run(folder)
    assert summarise(folder).state == name
    os.close(handle)


def test_new_process_without_the_lock_is_starting(folder: RunFolder):
    assert summarise(folder).state == "starting"
    os.utime(folder.spec, (0, 0))
    assert summarise(folder).state == "interrupted"


def test_what_the_list_shows(folder: RunFolder, spec: RunSpec):
    write_run(folder, STARTED, stage("training"), TRAINING, STEP)
    run = summarise(folder)
    assert (run.title, run.model, run.dataset) == ("try", spec.model.model_name, spec.dataset.path)
    assert (run.steps, run.total_steps, run.loss, run.started) == (7, 60, 1.25, 1000.0)
    assert not run.trained
    folder.adapter.mkdir()
    assert summarise(folder).trained


DRAFTS: list[tuple[bool, list[ev.AnyEvent]]] = [
    (True, [STARTED, stage("loading"), stage("ready")]),
    (True, [STARTED, stage("ready"), ENDED]),
    (False, [STARTED, stage("ready"), stage("preparing")]),
    (False, [STARTED, stage("ready"), TRAINING, STEP]),
    (False, [STARTED, stage("loading"), FAILED]),
]


@pytest.mark.parametrize(("draft", "events"), DRAFTS)
def test_drafts(folder: RunFolder, draft: bool, events: list[ev.AnyEvent]):
    write_run(folder, *events)
    assert summarise(folder).draft == draft


def test_early_engine_that_failed_to_load_is_a_draft(folder: RunFolder):
    folder.draft.touch()
    write_run(folder, STARTED, stage("loading"), FAILED)
    assert summarise(folder).draft


def test_newest_first_and_damaged_runs_are_listed(spec: RunSpec, tmp_path: Path):
    old, new = new_run(spec), new_run(spec)
    away = new_run(msgspec.structs.replace(spec, training=TrainingSpec(output_dir=str(tmp_path / "disk"))))
    for folder, when in ((old, 1.0), (new, 3.0), (away, 2.0)):
        write_run(folder, msgspec.structs.replace(STARTED, time=when))
    new.spec.write_text("a: [")
    (runs_folder() / "dangling").symlink_to("/nowhere")
    (runs_folder() / "file").touch()
    (runs_folder() / "no spec").mkdir()
    found = list_runs()
    assert [run.folder.path for run in found] == [new.path, away.path, old.path]
    assert (found[0].title, found[0].model) == (new.name, "")


def test_no_runs_at_all():
    assert list_runs() == []


def test_only_the_ends_of_a_long_run_are_read(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    steps = b"".join(
        ev.encode(ev.Step(step=n, epoch=0.0, loss=float(n), learning_rate=1e-4)) for n in range(1, 30_001)
    )
    head = b"".join(map(ev.encode, (STARTED, stage("training"), TRAINING)))
    folder.events.write_bytes(head + steps + b'{"type":"Step","torn')
    decoded = []
    monkeypatch.setattr(listing, "decode", lambda line: decoded.append(line) or ev.decode(line))
    run = summarise(folder)
    assert (run.steps, run.loss, run.total_steps, run.started) == (30_000, 30_000.0, 60, 1000.0)
    assert sum(map(len, decoded)) <= listing.HEAD_BYTES + listing.TAIL_BYTES


@pytest.mark.parametrize("extra", range(-3, 4))
def test_head_and_tail_meet_without_a_gap(folder: RunFolder, extra: int, monkeypatch: pytest.MonkeyPatch):
    lines = [ev.encode(ev.Step(step=n, epoch=0.0, loss=1.0, learning_rate=1e-4)) for n in range(10, 30)]
    width = len(lines[0])
    monkeypatch.setattr(listing, "HEAD_BYTES", 10 * width + extra)
    monkeypatch.setattr(listing, "TAIL_BYTES", 11 * width)
    folder.events.write_bytes(b"".join(lines))
    assert [e.step for e in listing._head_and_tail(folder.events) if isinstance(e, ev.Step)] == list(range(10, 30))


def test_delete_run(folder: RunFolder, spec: RunSpec, tmp_path: Path):
    away = new_run(msgspec.structs.replace(spec, training=TrainingSpec(output_dir=str(tmp_path / "disk"))))
    (away.path / "adapter").mkdir()
    link = runs_folder() / away.name
    delete_run(RunFolder(link))
    assert not away.path.exists()
    assert not os.path.lexists(link)
    assert (tmp_path / "disk").exists()
    delete_run(folder)
    assert not folder.path.exists()
    assert list_runs() == []


def test_delete_run_refuses_a_live_run_and_other_folders(folder: RunFolder, tmp_path: Path):
    handle = lock_run(folder)
    with pytest.raises(UserError, match="still running"):
        delete_run(folder)
    os.close(handle)
    foreign = tmp_path / "precious"
    foreign.mkdir()
    (foreign / "spec.yaml").touch()
    (runs_folder() / "no-spec").symlink_to(tmp_path)
    for path in (foreign, tmp_path, runs_folder(), folder.path / "..", folder.checkpoints):
        with pytest.raises(UserError, match="not the folder of a run"):
            delete_run(RunFolder(path))
    assert folder.spec.exists()
    assert foreign.exists()


def test_delete_run_does_not_follow_links(folder: RunFolder, good_data: Path):
    (folder.path / "data").symlink_to(good_data.parent)
    delete_run(folder)
    assert good_data.exists()


def test_old_drafts_are_deleted(folder: RunFolder, spec: RunSpec):
    folder.draft.touch()
    kept = new_run(spec)
    assert delete_drafts() == [], "its owner may still return to it"
    assert delete_drafts(now=time.time() + 7200) == [folder]
    assert not folder.path.exists()
    assert kept.path.is_dir()


def test_a_run_with_a_checkpoint_is_no_draft(folder: RunFolder):
    """Even if its events are lost: it would be deleted unasked."""
    folder.draft.touch()
    checkpoint = folder.checkpoints / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    manifest.write_manifest(checkpoint, 5)
    assert delete_drafts(now=time.time() + 1e9) == []
    assert checkpoint.is_dir()


@pytest.mark.parametrize("chunk", range(600, 800, 10))
def test_restarts_are_found_across_chunk_borders(folder: RunFolder, chunk: int, monkeypatch: pytest.MonkeyPatch):
    """Three engines of 100 s each, in a file read in small chunks, with the restarts anywhere in a chunk."""
    for name in ("HEAD_BYTES", "TAIL_BYTES"):
        monkeypatch.setattr(listing, name, 512)
    monkeypatch.setattr(restarts, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(restarts, "LINE_BYTES", 300)
    path = folder.events

    def one_engine(steps: int) -> list[ev.AnyEvent]:
        events = [msgspec.structs.replace(STEP, step=n, elapsed=100.0 * n / steps) for n in range(1, steps + 1)]
        return [STARTED, stage("training"), *events]

    engines = [one_engine(40), one_engine(50), one_engine(60)]
    with path.open("wb") as file:
        for number, events in enumerate(engines, 1):
            file.writelines(map(ev.encode, events))
            file.flush()
            assert summarise(folder).seconds == pytest.approx(100.0 * number), "what was read before is remembered"
    path.write_bytes(b"".join(map(ev.encode, engines[0])))  # another, shorter file in its place
    assert summarise(folder).seconds == pytest.approx(100.0)


@pytest.mark.parametrize("chunk", range(600, 800, 20))
def test_what_is_missing_is_found_in_the_middle_of_a_long_file(
    folder: RunFolder, chunk: int, monkeypatch: pytest.MonkeyPatch
):
    """Many chats with the run after its end: the list reads only the ends of the file, and these lines."""
    for name in ("HEAD_BYTES", "TAIL_BYTES"):
        monkeypatch.setattr(listing, name, 512)
    monkeypatch.setattr(restarts, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(restarts, "LINE_BYTES", 300)
    folder.adapter.mkdir()
    chats = [stage("serving"), stage("exporting")] * 20
    write_run(folder, STARTED, TRAINING, *[STEP] * 10, finished("completed"), SAVED, MISSING, *chats, ENDED)
    assert summarise(folder).state == "undelivered"
    write_run(
        folder, STARTED, TRAINING, *[STEP] * 10, SAVED, MISSING, *chats, STARTED, ev.Undelivered(), *chats, ENDED
    )
    monkeypatch.setattr(restarts, "_files", {})
    assert summarise(folder).state == "completed"


def test_long_run_is_not_mapped_into_memory_and_is_read_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    line = ev.encode(STEP)
    with folder.events.open("wb") as file:
        file.write(ev.encode(STARTED))
        file.write(line * ((40 << 20) // len(line)))

    def resident_mb(what: str) -> float:
        found = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(what))
        return int(found.split()[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now
    before = resident_mb("VmRSS")
    summarise(folder)
    assert resident_mb("VmHWM") - before < 20
    monkeypatch.setattr(restarts, "_find_in_chunk", None)
    summarise(folder)


def test_reused_pid_is_not_an_engine(folder: RunFolder):
    """The events name a live process that is not an engine: it does not hold the lock."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.spec.write_text("name: x\n")
    os.utime(folder.spec, (0, 0))
    started = ev.EngineStarted(pid=os.getpid(), hostname="h", versions={}, time=1.0)
    folder.events.write_bytes(ev.encode(started) + ev.encode(ev.StageChanged(stage="training")))
    folder.lock.touch()
    run = summarise(folder)
    assert (run.alive, run.state, run.frozen) == (False, "interrupted", False)
    terminate(folder, timeout=0.1)  # must not kill this process


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def rename(folder: RunFolder) -> None:
    """A run of an older Loris below a folder named in GBK."""
    folder.path.rename(folder.path.with_name(os.fsdecode("用户".encode("gbk"))))


BAD: dict[str, Callable[[RunFolder], object]] = {
    "GBK name": rename,
    "pipe for events": lambda run: pipe(run.events),
    "pipe for spec": lambda run: pipe(run.spec),
    "pipe for summary": lambda run: pipe(run.summary),
    "pipe for lock": lambda run: pipe(run.lock),
    "pipe for label": lambda run: pipe(run.label),
    "pipe for manifest": lambda run: (run.adapter.mkdir(), pipe(run.adapter / manifest.MANIFEST)),
    "folder for events": lambda run: run.events.mkdir(),
    "link in a circle": lambda run: run.events.symlink_to(run.events),
    "deep event": lambda run: run.events.write_bytes(b'{"type":"Step","a":' + b"[" * 100_000 + b"\n"),
    "deep spec": lambda run: run.spec.write_text("[" * 5000),
    "spec not in UTF-8": lambda run: run.spec.write_bytes("name: 用户".encode("gbk")),
    "late event": lambda run: write_run(run, msgspec.structs.replace(STARTED, time=1e300, elapsed=1e300), STEP),
    "early event": lambda run: write_run(run, msgspec.structs.replace(STARTED, time=-1e300), STEP),
    "infinite event": lambda run: run.events.write_bytes(ev.encode(STARTED).replace(b"1000.0", b"1e999")),
    "NUL in manifest": lambda run: (
        run.adapter.mkdir(),
        (run.adapter / manifest.MANIFEST).write_text('{"files":{"a\\u0000b":{"size":1,"sha256":""}}}'),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_lists_survive_any_single_bad_run(
    name: str, folder: RunFolder, spec: RunSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    good = new_run(spec)
    BAD[name](folder)
    assert good.name in [run.name for run in list_runs()]
    capsys.readouterr()
    assert main(["ls"]) == 0
    assert good.name in capsys.readouterr().out
    assert main(["ls", "--json"]) == 0
    assert good.name in [run["name"] for run in json.loads(capsys.readouterr().out)]


def test_a_run_that_cannot_be_read_is_listed_as_such(
    folder: RunFolder, spec: RunSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, usual = new_run(spec), listing.summarise

    def summarise_one(run: RunFolder) -> listing.RunSummary:
        if run == folder:
            raise ValueError("nobody thought of this")
        return usual(run)

    monkeypatch.setattr(listing, "summarise", summarise_one)
    assert {run.name: run.state for run in list_runs()} == {folder.name: "unreadable", good.name: "starting"}
    assert main(["ls"]) == 0
    assert "cannot be read" in capsys.readouterr().out
