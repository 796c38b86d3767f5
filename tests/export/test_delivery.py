"""What a spec asks for after training: what is missing is named, done later, and holds back the last command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from engine.config.export import ExportSpec
from engine.config.run_spec import RunSpec
from engine.export.copy_export import copy_export
from engine.export.deliverables import Deliverable, deliverables, undelivered
from engine.export.delivery import Delivery
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Export
from engine.protocol.state import RunState, read_state
from engine.runs import manifest
from engine.runs.checksums import CHECKSUMS, write_checksums
from engine.runs.consent import give_consent
from engine.runs.folder import RunFolder
from engine.runs.run_list import summarise
from engine.runtime import after_run
from engine.runtime.event_writer import EventWriter
from tests.helpers.run_events import STARTED, TRAINING, finished


class FakeEngine:
    """Exports and pushes that succeed, except what `broken` names by its label."""

    def __init__(self, folder: RunFolder, spec: ExportSpec) -> None:
        self.folder, self.spec = folder, msgspec.structs.replace(RunSpec(), export=spec)
        self.record = EventWriter(folder.events)
        self.broken: set[str] = set()
        self.done: list[str] = []
        self.replaced: list[str] = []
        self.warnings: list[str] = []

    def train(self, adapter: str = "abc") -> None:
        """A new adapter, saved."""
        for event in (STARTED, TRAINING, finished("completed")):
            self.record.emit(event)
        self.folder.adapter.mkdir(exist_ok=True)
        self._exported("adapter", self.folder.adapter, adapter)
        self.adapter = adapter

    def deliver(self, cancelled: Callable[[], bool] = lambda: False) -> list[str]:
        """As the engine does after training; returns what is missing."""
        self.done.clear()
        delivery = Delivery(self.folder, self.spec, self, self, self.record, self._warn)  # type: ignore[arg-type]
        delivery.announce()
        missing = [one.label for one in delivery.run(cancelled)]
        after_run.after_training(self.folder, self.spec, missing, self.record)
        return missing

    @property
    def state(self) -> RunState:
        return read_state(self.folder.events)

    # The parts of `Exports` and `PushQueue` that are used

    def job(self, *_: object) -> None: ...

    def export(self, command: Export, _job: None) -> None:
        target = deliverables(self.spec.export, self.folder)[0 if command.kind == "merged_16bit" else 1].path
        self._do(target.name, command.replace)
        self._exported(command.kind, target, self.adapter, command.quantizations)

    def copy(self, one: Deliverable, target: Path, replace: bool, _cancelled: object) -> None:
        self._do(one.label, replace)
        self._exported(one.kind, target, self.adapter, one.quantizations)

    def push(self, one: Deliverable, private: bool, _token: str, replace: bool, _cancelled: object) -> bool:
        if one.label in self.broken:
            return False
        self._do(one.label, replace)
        self.record.emit(
            ev.Pushed(kind=one.kind, path=str(one.path), repo_id=f"ann/{one.target}", url="u", commit="c",
                      private=private, files=1, total_bytes=1, seconds=1, adapter_sha256=self.adapter)
        )  # fmt: skip
        return True

    def _do(self, label: str, replace: bool) -> None:
        if label in self.broken:
            raise UserError("broken", say("It broke."))
        self.done.append(label)
        self.replaced += [label] if replace else []

    def _exported(self, kind: ev.ExportKind, path: Path, adapter: str, names: tuple[str, ...] = ()) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / CHECKSUMS).touch()
        self.record.emit(ev.Exported(kind=kind, path=str(path), total_bytes=1, seconds=1, adapter_sha256=adapter,
                                     quantizations=names))  # fmt: skip

    def _warn(self, code: str, _template: str, _error: Exception) -> None:
        self.warnings.append(code)


@pytest.fixture
def fake(folder: RunFolder, tmp_path: Path) -> FakeEngine:
    spec = ExportSpec(
        merged_16bit=True,
        gguf=("q4_k",),
        copy_to=str(tmp_path / "drive"),
        push_to="model",
        after_command="touch ran",
    )
    give_consent(folder, spec.after_command)
    engine = FakeEngine(folder, spec)
    engine.train()
    return engine


def labels(engine: FakeEngine) -> list[str]:
    return [one.label for one in deliverables(engine.spec.export, engine.folder)]


def test_everything_promised_is_done_in_order_then_the_command_runs(fake: FakeEngine, tmp_path: Path) -> None:
    drive = tmp_path / "drive" / fake.folder.name
    assert labels(fake) == [
        "merged_16bit",
        "gguf-q4_k_m",
        f"adapter → {drive}/adapter",
        f"merged_16bit → {drive}/merged_16bit",
        f"gguf-q4_k_m → {drive}/gguf-q4_k_m",
        "adapter → model",
        "merged_16bit → model-16bit",
        "gguf-q4_k_m → model-GGUF",
    ]
    assert fake.deliver() == []
    assert fake.done == labels(fake)
    assert (fake.folder.path / "ran").exists()
    assert fake.state.undelivered == ()
    fake.record.close(0)
    assert summarise(fake.folder).state == "completed"


@pytest.mark.parametrize("number", range(8))
def test_after_command_waits_for_everything_promised(fake: FakeEngine, number: int) -> None:
    """One thing fails: the command does not run, the state and the notice name it, the rest is done later."""
    broken = labels(fake)[number]
    fake.broken = {broken}
    missing = fake.deliver()
    assert broken in missing
    assert all(label.split(" → ")[0] == broken.split(" → ")[0] for label in missing), "what was made of it, at most"
    assert not (fake.folder.path / "ran").exists()
    assert fake.state.undelivered == tuple(missing)
    notice = next(one for one in fake.state.notices if one.code == "after_withheld")
    assert broken in str(notice.message)
    assert summarise(fake.folder).state == "undelivered"

    fake.broken = set()
    assert fake.deliver() == []
    assert fake.done == missing, "nothing is done twice"
    assert (fake.folder.path / "ran").exists()
    assert summarise(fake.folder).state == "completed"


def test_an_engine_killed_before_its_exports_leaves_behind_what_is_missing(fake: FakeEngine) -> None:
    fake.deliver(cancelled=lambda: True)
    assert fake.state.undelivered == tuple(labels(fake))
    assert summarise(fake.folder).state == "undelivered"


def test_a_new_adapter_is_delivered_again_over_what_the_run_itself_made(fake: FakeEngine) -> None:
    """As when a run that was stopped is resumed."""
    fake.deliver()
    fake.replaced.clear()
    fake.train("of more steps")
    assert fake.state.undelivered == ()
    assert fake.deliver() == []
    assert fake.done == fake.replaced == labels(fake)


def test_what_was_deleted_is_missing_again(fake: FakeEngine) -> None:
    fake.deliver()
    shutil.rmtree(fake.folder.exports / "merged_16bit")
    found = undelivered(fake.spec.export, fake.folder, fake.state)
    assert [one.label for one in found] == ["merged_16bit"]


def test_a_run_without_exports_reports_nothing(folder: RunFolder) -> None:
    engine = FakeEngine(folder, ExportSpec())
    engine.train()
    assert engine.deliver() == []
    assert b"Undelivered" not in folder.events.read_bytes()


def test_a_copy_that_differs_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an adapter, which has a manifest, and of an export, which has checksums."""
    adapter, merged = tmp_path / "adapter", tmp_path / "merged_16bit"
    for source in (adapter, merged):
        source.mkdir()
        (source / "weights").write_bytes(b"weights")
    manifest.write_manifest(adapter)
    write_checksums(merged, lambda *_: None)
    for source in (adapter, merged):
        copy_export(source, tmp_path / "good" / source.name, False, lambda: False, lambda _: None)
        assert (tmp_path / "good" / source.name / CHECKSUMS).is_file()

    def faulty(usual: Callable[..., object], source: Path, target: Path, **named: bool) -> None:
        usual(source, target, **named)
        for weights in (target, *target.rglob("*")):
            if weights.name == "weights":
                weights.write_bytes(b"weighty")

    for copies in (shutil.copy2, shutil.copytree):  # one file, and all of them
        monkeypatch.setattr(shutil, copies.__name__, partial(faulty, copies))
    for source in (adapter, merged):
        with pytest.raises(UserError, match="differs from the original"):
            copy_export(source, tmp_path / "bad" / source.name, False, lambda: False, lambda _: None)
    assert list((tmp_path / "bad").iterdir()) == []
