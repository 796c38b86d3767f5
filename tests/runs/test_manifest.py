"""What counts as a whole checkpoint, which are kept, and what may change when a run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from engine.config.oom_fallback import next_smaller
from engine.config.resume_rules import changed_fields, refusals
from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from engine.protocol.state import fold
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.lock_file import hold
from engine.runs.lock_owner import end, is_frozen, lock_owner, survived
from engine.runs.run_list import summarise


def sealed(folder: Path, step: int, eval_loss: float | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * 1000)
    (path / "deep/state").write_bytes(b"s" * 10)
    assert manifest.seal(path, step, eval_loss) == 1010
    return path


def changed(section: str, spec: RunSpec | None = None, /, **fields: object) -> RunSpec:
    spec = spec or RunSpec()
    part = msgspec.structs.replace(getattr(spec, section), **fields)
    return msgspec.structs.replace(spec, **{section: part})


def test_every_way_to_be_broken_is_seen(tmp_path: Path):
    sealed(tmp_path, 1)
    (sealed(tmp_path, 2) / "weights").write_bytes(b"x" * 1000)  # the right size, the wrong bytes
    (sealed(tmp_path, 3) / "deep/state").unlink()
    (sealed(tmp_path, 4) / "weights").write_bytes(b"w" * 999)
    (sealed(tmp_path, 5) / manifest.MANIFEST).write_bytes(b"{")
    (tmp_path / "checkpoint-6").mkdir()
    (tmp_path / f"{manifest.PARTIAL}checkpoint-7").mkdir()
    assert [one.step for one in manifest.checkpoints(tmp_path)] == [2, 1]
    found = manifest.newest(tmp_path)
    assert found
    assert found.step == 1
    manifest.remove_leftovers(tmp_path)
    assert not (tmp_path / f"{manifest.PARTIAL}checkpoint-7").exists()
    assert (tmp_path / "checkpoint-6").exists()


@pytest.mark.parametrize(
    ("losses", "limit", "kept"),
    [
        ((None, None, None, None), 2, (3, 4)),
        ((3.0, 1.0, 2.0, 2.5), 2, (2, 4)),
        ((3.0, 1.0, 2.0, 2.5), 3, (2, 3, 4)),
        ((3.0, 1.0, 2.0, 2.5), 1, (4,)),
        ((1.0, None, None, None), 2, (1, 4)),
        ((1.0, 1.0, 1.0, 1.0), 2, (3, 4)),
        ((1.0,), 5, (1,)),
    ],
)
def test_the_newest_and_the_best_are_kept(
    tmp_path: Path, losses: tuple[float | None, ...], limit: int, kept: tuple[int, ...]
):
    for step, loss in enumerate(losses, 1):
        sealed(tmp_path, step, loss)
    found = manifest.checkpoints(tmp_path)
    gone = {one.step for one in manifest.excess(found, limit)}
    assert tuple(one.step for one in reversed(found) if one.step not in gone) == kept


def test_what_may_change_on_the_way():
    old = RunSpec()
    for new in (
        changed("training", max_steps=100, save_steps=1, report_to="wandb"),
        changed("generation", temperature=0.0),
        changed("training", per_device_train_batch_size=1, gradient_accumulation_steps=8),
    ):
        assert refusals(old, new, step=30) == []
    for section, field, value in (
        ("training", "learning_rate", 1e-5),
        ("training", "per_device_train_batch_size", 1),
        ("training", "seed", 1),
        ("lora", "r", 8),
        ("model", "model_name", "other"),
        ("dataset", "path", "other"),
    ):
        (refused,) = refusals(old, changed(section, **{field: value}), step=1)
        assert refused.field == f"{section}.{field}"
    (late,) = refusals(old, changed("training", max_steps=50), step=50)
    assert late.field == "training.max_steps"
    assert changed_fields(old, msgspec.structs.replace(old, name="x")) == ["name"]


def test_smaller_and_smaller_until_nothing_is_left():
    spec, path = changed("model", load_in_4bit=False, max_seq_length=600), []
    spec = changed("training", spec, per_device_train_batch_size=6, gradient_accumulation_steps=3)
    while changes := next_smaller(spec, gpu=True):
        for change in changes:
            section, _, field = change.field.partition(".")
            spec = changed(section, spec, **{field: change.value})
        training = spec.training
        path.append((training.per_device_train_batch_size, training.gradient_accumulation_steps,
                     spec.model.max_seq_length, spec.model.load_in_4bit))  # fmt: skip
    assert path == [(3, 6, 600, False), (1, 18, 600, False), (1, 18, 300, False), (1, 18, 256, False),
                    (1, 18, 256, True)]  # fmt: skip
    assert not next_smaller(changed("model", spec, load_in_4bit=False), gpu=False)


def test_the_clock_survives_engines_and_ignores_the_walls():
    def engine(begin: float, *steps: float) -> list[ev.AnyEvent]:
        return [
            ev.EngineStarted(pid=1, hostname="h", versions={}, time=begin),
            ev.StageChanged(stage="loading", elapsed=1.0, time=begin + 1),
            ev.StageChanged(stage="training", elapsed=10.0, time=begin - 5000),  # the wall clock jumps back
            *(
                ev.Step(step=n, epoch=0, loss=1, learning_rate=1, elapsed=10 + at, time=0)
                for n, at in enumerate(steps, 1)
            ),
        ]

    state = fold([*engine(1e9, 5.0, 20.0), *engine(1e9 + 1e5, 7.0), ev.StageChanged(stage="saving", elapsed=18.0)])
    assert state.clock.training_seconds == 20.0 + 8.0
    assert state.clock.engine_seconds == 30.0 + 18.0


def test_time_left_after_a_resume_is_of_this_engine():
    started = ev.TrainingStarted(total_steps=100, num_train_epochs=1, effective_batch_size=8, optim="", dtype="",
                                 reserved_bytes=0, elapsed=10.0)  # fmt: skip
    step = ev.Step(step=60, epoch=0, loss=1, learning_rate=1, elapsed=30.0)
    assert fold([ev.Resumed(step=50, path=""), started, step]).seconds_left == 80.0


def test_the_holder_of_a_lock_is_found_by_the_kernel(folder: RunFolder):
    folder.path.mkdir(parents=True, exist_ok=True)
    assert lock_owner(folder) is None
    handle = hold(folder.lock)
    assert lock_owner(folder) == os.getpid()
    assert not is_frozen(folder)
    os.close(handle)
    assert lock_owner(folder) is None
    assert end(folder) == survived(folder)  # nobody to end, nobody harmed
    assert survived(folder).checkpoint is None


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
