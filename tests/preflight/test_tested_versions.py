"""Untested versions of the libraries are reported by `loris --version` and by every engine."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from engine.preflight import tested_versions
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from tui.cli.version import version_lines
from tui.text import translation


@pytest.fixture
def untested_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Loris tested with another trl, two versions of torch, and a library that is not installed."""
    torch, peft = metadata.version("torch").partition("+")[0], metadata.version("peft")
    file = tmp_path / "tested_versions.txt"
    file.write_text(f"# Why.\ntrl==0.1\ntorch==0.1\ntorch=={torch}\npeft=={peft}\nnot-here==1\n")
    monkeypatch.setattr(tested_versions, "TESTED", file)


def test_tested_versions_give_no_notice():
    assert tested_versions.untested_versions() == {}
    assert tested_versions.version_notice() is None
    assert version_lines() == [
        f"loris {metadata.version('loris-tui')}", version_lines()[1], "here: the same versions",
    ]  # fmt: skip
    assert f"unsloth {metadata.version('unsloth')}, " in version_lines()[1]


@pytest.mark.usefixtures("untested_set")
def test_another_version_is_reported():
    trl = metadata.version("trl")
    assert tested_versions.untested_versions() == {"trl": trl}
    assert str(tested_versions.version_notice()).endswith(f"(tested → here): trl 0.1 → {trl}")
    assert version_lines()[2] == f"here: trl {trl} (tested 0.1)"
    translation.set_language("zh")
    assert version_lines()[2] == f"当前环境：trl {trl}（测试版本 0.1）"


def test_a_cuda_build_is_the_same_version(monkeypatch: pytest.MonkeyPatch):
    versions = {name: known[0] for name, known in tested_versions.tested_versions().items()}
    monkeypatch.setattr(tested_versions.metadata, "version", lambda name: versions[name] + "+cu128")
    assert tested_versions.untested_versions() == {}


@pytest.mark.parametrize("trl", ["0.1", metadata.version("trl")])
def test_every_engine_reports_it(trl: str, tmp_path: Path):
    """A real engine, which ends before the slow import because its spec is invalid."""
    file = tmp_path / "tested_versions.txt"
    file.write_text(f"trl=={trl}\n")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.spec.write_text("model: 1\n")
    call = (
        "from pathlib import Path; from engine.__main__ import main; from engine.preflight import tested_versions; "
        f"tested_versions.TESTED = Path({str(file)!r}); main()"
    )
    subprocess.run([sys.executable, "-c", call, str(folder.path)], check=True, timeout=60)
    state = read_state(folder.events)
    assert state.failed
    assert state.failed.code == "spec_invalid"
    notices = [(one.code, one.level) for one in state.notices if isinstance(one, ev.Notice)]
    assert notices == ([("not_as_tested", "info")] if trl == "0.1" else [])


TRAINING = ev.TrainingStarted(total_steps=9, num_train_epochs=1, effective_batch_size=8, optim="o", dtype="d",
                              reserved_bytes=1)  # fmt: skip


def engine_with(*events: ev.AnyEvent, **versions: str) -> list[ev.AnyEvent]:
    return [ev.EngineStarted(pid=1, hostname="h", versions=versions), *events]


def test_other_library_versions_than_at_the_start_are_told(tmp_path: Path):
    resumed = ev.Resumed(step=5, path="p")
    file = tmp_path / "events.jsonl"
    events = [
        *engine_with(TRAINING, torch="1", trl="1"),  # it left no checkpoint
        *engine_with(TRAINING, torch="2", trl="1"),
        *engine_with(resumed, TRAINING, torch="3", trl="1"),
        *engine_with(torch="3", trl="1", peft="4"),
    ]
    file.write_bytes(b"".join(map(ev.encode, events)))
    assert tested_versions.changed_since(file, {"torch": "2", "trl": "1"}) is None
    told = str(tested_versions.changed_since(file, {"torch": "3", "peft": "4"}))
    assert "torch 2 → 3, trl 1 → –, peft – → 4" in told
    file.write_bytes(b"".join(map(ev.encode, events[:1])))  # it never trained
    assert tested_versions.changed_since(file, {"torch": "9"}) is None
