"""Killed, and gone on with: the same losses and the same adapter as without, to the last digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.client.runs import summarise
from engine.spec import complete
from engine.spec import events as ev
from engine.spec.files import load_spec
from engine.spec.run import RunSpec
from tests.engine.process import Engine, changed

STEPS, KILLED_AT = 60, 25


def small(demo: RunSpec, **training: object) -> RunSpec:
    """The demo with small steps and no questions."""
    settings: dict[str, object] = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "warmup_steps": 2, "max_steps": 8,
        "save_steps": 2, "dataset_num_proc": 1,
    }  # fmt: skip
    return changed(
        demo,
        lora={"r": 4},
        training=settings | training,
        generation={"prompts": ()},
    )


def run_to_end(folder: Path, spec: RunSpec | None, *flags: str, **environment: str) -> Engine:
    engine = Engine(folder, spec, *flags, **environment)
    try:
        engine.process.wait(240)
    finally:
        engine.kill()
    return engine


@pytest.fixture(scope="module")
def straight(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = run_to_end(
        tmp_path_factory.mktemp("straight") / "run", small(demo, max_steps=STEPS, save_steps=10), "--exit"
    )
    assert engine.finish() == 0
    return engine


def test_resume_parity(straight: Engine, demo: RunSpec, tmp_path: Path) -> None:
    spec = small(demo, max_steps=STEPS, save_steps=10)
    killed = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT=f"kill@{KILLED_AT}")
    assert killed.process.returncode == -9
    seen = summarise(killed.folder)
    assert (seen.state, seen.checkpoint, seen.trained, seen.alive) == ("interrupted", 20, False, False)
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    (resumed,) = later.of(ev.Resumed)
    assert resumed.step == 20
    once, again = ({s.step: s.loss for s in engine.of(ev.Step)} for engine in (straight, later))
    assert list(once) == list(range(1, STEPS + 1))
    assert sorted(again) == list(once)
    assert max(abs(once[step] - again[step]) for step in once) < 1e-6
    one, two = (load_file(engine.folder.adapter / "adapter_model.safetensors") for engine in (straight, later))
    assert set(one) == set(two)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert any(float(weight.abs().max()) > 0 for name, weight in one.items() if "lora_B" in name)
    assert all(torch.isfinite(weight).all() for weight in two.values())
    assert complete.fault(later.folder.adapter) == ""
    assert summarise(later.folder).state == "completed"


def test_more_steps_go_on_from_a_finished_run(straight: Engine, tmp_path: Path) -> None:
    shutil.copytree(straight.folder.path, tmp_path / "run")
    spec = changed(load_spec(straight.folder.spec), training={"max_steps": STEPS + 3})
    more = run_to_end(tmp_path / "run", spec, "--resume", "--exit")
    assert more.finish() == 0
    assert more.of(ev.TrainingFinished)[-1].steps == STEPS + 3
    assert [s.step for s in more.of(ev.Step)][STEPS:] == [STEPS + 1, STEPS + 2, STEPS + 3]
    assert complete.fault(more.folder.adapter) == ""


def test_settings_that_may_not_change_are_refused(straight: Engine, tmp_path: Path) -> None:
    shutil.copytree(straight.folder.path, tmp_path / "run")
    edited = changed(load_spec(straight.folder.spec), training={"learning_rate": 1e-5, "max_steps": STEPS + 3})
    refused = run_to_end(tmp_path / "run", edited, "--resume", "--exit")
    assert refused.finish() == 2
    assert [(one.code, one.field) for one in refused.of(ev.Failed)] == [
        ("resume_refused", "training.learning_rate")
    ]
    assert len(refused.of(ev.Step)) == STEPS
    assert complete.fault(refused.folder.adapter) == "", "what was trained before is still there"


def test_all_steps_done_but_no_adapter(straight: Engine, tmp_path: Path) -> None:
    """Killed between the last checkpoint and the adapter: the weights of the checkpoint are the adapter."""
    shutil.copytree(straight.folder.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/adapter")
    last = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert last.finish() == 0
    one, two = (load_file(engine.folder.adapter / "adapter_model.safetensors") for engine in (straight, last))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len(last.of(ev.Step)) == STEPS
