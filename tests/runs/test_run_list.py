"""The list of runs: what each is in a word, cheaply, and what may be deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from engine.client.launch import launch, new_run
from engine.config.paths import runs_folder
from engine.config.run_spec import RunSpec, TrainingSpec
from engine.messages.errors import UserError
from engine.protocol import events as ev
from engine.runs import restarts
from engine.runs import run_list as listing
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import end
from engine.runs.run_list import discard, discard_drafts, is_alive, list_runs, summarise
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


def test_alive_is_who_holds_the_lock(folder: RunFolder):
    assert not is_alive(folder)
    handle = lock_run(folder)
    assert is_alive(folder)
    assert is_alive(folder), "asking does not free it"
    os.close(handle)
    assert not is_alive(folder)
    assert not is_alive(RunFolder(Path("/nowhere")))


def test_alive_to_the_last_moment(folder: RunFolder, fake_engine: pytest.MonkeyPatch):
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
    ("completed", [STARTED, TRAINING, finished("completed"), SAVED, ENDED, STARTED, FAILED, ENDED]),
]


@pytest.mark.parametrize(("word", "events"), DEAD)
def test_what_is_left_of_a_dead_engine(folder: RunFolder, word: str, events: list[ev.AnyEvent]):
    write_run(folder, *events)
    assert summarise(folder).state == word


@pytest.mark.parametrize("name", ["loading", "ready", "preparing", "training", "saving", "serving", "exporting"])
def test_a_live_engine_is_at_its_stage(folder: RunFolder, name: ev.Stage):
    write_run(folder, STARTED, stage(name))
    handle = lock_run(folder)
    assert summarise(folder).state == name
    os.close(handle)


def test_a_process_on_its_way_to_the_lock(folder: RunFolder):
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
def test_drafts_are_told_apart(folder: RunFolder, draft: bool, events: list[ev.AnyEvent]):
    write_run(folder, *events)
    assert summarise(folder).draft == draft


def test_an_engine_that_waited_and_never_got_ready_is_a_draft(folder: RunFolder):
    folder.draft.touch()
    write_run(folder, STARTED, stage("loading"), FAILED)
    assert summarise(folder).draft


def test_the_newest_first_and_damage_is_no_reason_to_hide(spec: RunSpec, tmp_path: Path):
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


def test_a_long_run_is_read_at_its_ends(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
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


def test_discard(folder: RunFolder, spec: RunSpec, tmp_path: Path):
    away = new_run(msgspec.structs.replace(spec, training=TrainingSpec(output_dir=str(tmp_path / "disk"))))
    (away.path / "adapter").mkdir()
    link = runs_folder() / away.name
    discard(RunFolder(link))
    assert not away.path.exists()
    assert not os.path.lexists(link)
    assert (tmp_path / "disk").exists()
    discard(folder)
    assert not folder.path.exists()
    assert list_runs() == []


def test_discard_spares_the_living_and_what_is_no_run(folder: RunFolder, tmp_path: Path):
    handle = lock_run(folder)
    with pytest.raises(UserError, match="still running"):
        discard(folder)
    os.close(handle)
    foreign = tmp_path / "precious"
    foreign.mkdir()
    (foreign / "spec.yaml").touch()
    (runs_folder() / "no-spec").symlink_to(tmp_path)
    for path in (foreign, tmp_path, runs_folder(), folder.path / "..", folder.checkpoints):
        with pytest.raises(UserError, match="not the folder of a run"):
            discard(RunFolder(path))
    assert folder.spec.exists()
    assert foreign.exists()


def test_discard_does_not_follow_links_out(folder: RunFolder, good_data: Path):
    (folder.path / "data").symlink_to(good_data.parent)
    discard(folder)
    assert good_data.exists()


def test_drafts_that_a_kill_left_behind_are_tidied_up_after_a_while(folder: RunFolder, spec: RunSpec):
    folder.draft.touch()
    kept = new_run(spec)
    assert discard_drafts() == [], "its owner may be about to come back"
    assert discard_drafts(now=time.time() + 7200) == [folder]
    assert not folder.path.exists()
    assert kept.path.is_dir()


@pytest.mark.parametrize("piece", range(600, 800, 10))
def test_engines_that_follow_each_other_are_found_over_the_seams_of_what_is_read(
    folder: RunFolder, piece: int, monkeypatch: pytest.MonkeyPatch
):
    """Three engines of 100 s each, in a file read in small pieces, at any place between the pieces."""
    for name in ("HEAD_BYTES", "TAIL_BYTES"):
        monkeypatch.setattr(listing, name, 512)
    monkeypatch.setattr(restarts, "PIECE_BYTES", piece)
    monkeypatch.setattr(restarts, "LINE_BYTES", 300)
    path = folder.events

    def one_engine(steps: int) -> list[ev.AnyEvent]:
        took = [msgspec.structs.replace(STEP, step=n, elapsed=100.0 * n / steps) for n in range(1, steps + 1)]
        return [STARTED, stage("training"), *took]

    engines = [one_engine(40), one_engine(50), one_engine(60)]
    with path.open("wb") as file:
        for number, events in enumerate(engines, 1):
            file.writelines(map(ev.encode, events))
            file.flush()
            assert summarise(folder).seconds == pytest.approx(100.0 * number), "what was read before is kept"
    path.write_bytes(b"".join(map(ev.encode, engines[0])))  # another, shorter file in its place
    assert summarise(folder).seconds == pytest.approx(100.0)


def test_a_long_run_is_not_mapped_into_memory_and_is_read_once(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch.setattr(restarts, "_found", None)
    summarise(folder)


def test_a_pid_that_was_reused_is_nobodys_engine(folder: RunFolder):
    """The events name a process that lives, but is another: the lock tells."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.spec.write_text("name: x\n")
    os.utime(folder.spec, (0, 0))
    started = ev.EngineStarted(pid=os.getpid(), hostname="h", versions={}, time=1.0)
    folder.events.write_bytes(ev.encode(started) + ev.encode(ev.StageChanged(stage="training")))
    folder.lock.touch()
    seen = summarise(folder)
    assert (seen.alive, seen.state, seen.frozen) == (False, "interrupted", False)
    end(folder, patience=0.1)  # and we live on
