"""Run folders and detached engines."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from engine.client import launch as launching
from engine.client.follow import LogFollower
from engine.client.launch import has_accelerator, launch, new_run, run_name
from engine.config.paths import runs_folder
from engine.config.run_spec import DatasetSpec, ExportSpec, ModelSpec, RunSpec, TrainingSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import terminate
from engine.runs.run_list import is_alive
from tests.helpers.waiting import wait_for


def in_folder(spec: RunSpec, path: Path) -> RunSpec:
    return msgspec.structs.replace(spec, training=TrainingSpec(output_dir=str(path)))


@pytest.mark.parametrize(
    ("spec", "ending"),
    [
        (RunSpec(name="demo"), "-demo"),
        (RunSpec(name=" My 医生/run! "), "-My-医生-run"),
        (RunSpec(name="../.."), "-run"),
        (RunSpec(name="x" * 99), "-" + "x" * 40),
        (RunSpec(model=ModelSpec(model_name="unsloth/tiny-1B")), "-tiny-1B"),
        (RunSpec(model=ModelSpec(model_name="/models/tiny/")), "-tiny"),
    ],
)
def test_run_names(spec: RunSpec, ending: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert run_name(spec, 1795442700) == "2026-11-23-1405" + ending


def test_run_in_the_runs_folder(spec: RunSpec):
    first, second, third = (new_run(spec) for _ in range(3))
    assert first.path.parent == runs_folder()
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
    assert load_spec(first.spec) == spec
    assert second.name == f"{first.name}-2"
    assert third.name == f"{first.name}-3"


def test_run_in_another_folder_is_linked(spec: RunSpec, tmp_path: Path):
    here = new_run(spec)
    away = new_run(in_folder(spec, tmp_path / "disk/runs"))
    assert away.path.parent == tmp_path / "disk/runs"
    assert away.name == f"{here.name}-2", "names are unique"
    assert (runs_folder() / away.name).resolve() == away.path.resolve()
    again = new_run(in_folder(spec, runs_folder()))
    assert not again.path.is_symlink()


def test_paths_are_stored_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    spec = RunSpec(
        model=ModelSpec(model_name="model"), dataset=DatasetSpec(path="data.json"),
        training=TrainingSpec(output_dir="out"), export=ExportSpec(copy_to="copy"),
    )  # fmt: skip
    kept = load_spec(new_run(spec).spec)
    assert kept.model.model_name == str(tmp_path / "model")
    assert kept.dataset.path == str(tmp_path / "data.json")
    assert kept.training.output_dir == str(tmp_path / "out")
    assert kept.export.copy_to == str(tmp_path / "copy")
    hub = load_spec(new_run(RunSpec()).spec)
    assert (hub.model.model_name, hub.dataset.path) == (RunSpec().model.model_name, "yahma/alpaca-cleaned")


@pytest.mark.parametrize("path", ["{file}/runs", "{file}", "/proc/runs", "/dev/null/x"])
def test_folder_that_is_not_writable(spec: RunSpec, good_data: Path, path: str):
    with pytest.raises(SpecError) as caught:
        new_run(in_folder(spec, Path(path.format(file=good_data))))
    assert [e.field for e in caught.value.errors] == ["training.output_dir"]


def test_folder_with_a_name_that_is_not_utf8_is_refused(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode("用户".encode("gbk"))
    monkeypatch.setenv("LORIS_HOME", str(folder))
    with pytest.raises(SpecError) as caught:
        new_run(spec)
    (error,) = caught.value.errors
    assert error.field == "training.output_dir"
    assert "is not UTF-8" in str(error.message)
    assert not folder.exists()


def test_engine_is_detached(folder: RunFolder, fake_engine: pytest.MonkeyPatch):
    fake_engine.setattr(launching, "has_accelerator", lambda: False)
    process = launch(folder, "train", exit_when_done=True)
    # Launch sets the niceness after the start.
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.nice(0) + 5
    assert os.getsid(process.pid) == process.pid
    assert os.readlink(f"/proc/{process.pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{process.pid}/fd/2") == str(folder.log)
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(folder.path)
    assert process.wait(10) == 0
    assert LogFollower(folder).poll()[0].startswith("arguments ['--exit']")


@pytest.mark.parametrize(("mode", "arguments"), [("train", "[]"), ("wait", "['--wait']"), ("serve", "['--serve']")])
def test_modes(folder: RunFolder, fake_engine: pytest.MonkeyPatch, mode: launching.Mode, arguments: str):
    fake_engine.setenv("FAKE_PLAY", "crash")
    fake_engine.setattr(launching, "has_accelerator", lambda: True)
    folder.log.write_bytes(b"of an earlier engine\n")
    process = launch(folder, mode)
    assert process.wait(10) == 1
    lines = LogFollower(folder).poll()
    assert lines[0] == "of an earlier engine"
    assert lines[1].startswith(f"arguments {arguments} niceness {os.nice(0)} leader True")
    assert lines[-1].startswith("ModuleNotFoundError")
    assert folder.draft.exists() == (mode == "wait")


def test_accelerators_are_found_by_their_device_files(tmp_path: Path):
    assert not has_accelerator(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not has_accelerator(tmp_path), "a driver without a GPU"
    (tmp_path / "nvidia0").touch()
    assert has_accelerator(tmp_path)


CALLER = """
import sys, time
from pathlib import Path
from engine.client.launch import launch
from engine.runs.folder import RunFolder
launch(RunFolder(Path(sys.argv[1])), "serve", ends_with_caller=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("another_client", [False, True])
def test_an_engine_ends_with_the_command_that_asked_for_it(folder: RunFolder, another_client: bool):
    """`kill -9` of `loris export`: its engine does not keep the card, unless somebody else talks to it."""
    command = subprocess.Popen([sys.executable, "-c", CALLER, str(folder.path)])
    try:
        wait_for(lambda: is_alive(folder) and folder.socket.exists(), 30)
        with socket.socket(socket.AF_UNIX) as client:
            if another_client:
                client.connect(str(folder.socket))
            command.kill()
            command.wait()
            if another_client:
                time.sleep(2)
                assert is_alive(folder)
        wait_for(lambda: not is_alive(folder), 10)
    finally:
        command.kill()
        terminate(folder)
    ended = read_state(folder.events).ended
    assert ended
    assert ended.exit_code == 0


@pytest.mark.parametrize("name", ["engine.log", ".draft"])
def test_launch_does_not_write_through_a_link(folder: RunFolder, tmp_path: Path, name: str) -> None:
    """As in a run folder from someone else, where engine.log is a link to ~/.bashrc."""
    target = tmp_path / "bashrc"
    target.write_text("mine")
    (folder.path / name).symlink_to(target)
    with pytest.raises(OSError, match=f"{name} is a link, which is not followed"):
        launch(folder, "wait")
    assert target.read_text() == "mine"
