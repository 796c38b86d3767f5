"""Killed and resumed: the same losses and the same adapter as without, to the last digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs import manifest
from tests.helpers.engine_process import Client, Engine, with_changes
from tests.helpers.run_invariants import check_after_fault
from tests.helpers.short_run import run_to_end, small

STEPS, KILLED_AT = 60, 25


@pytest.fixture(scope="module")
def straight(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = run_to_end(
        tmp_path_factory.mktemp("straight") / "run", small(demo, max_steps=STEPS, save_steps=10), "--exit"
    )
    assert engine.finish() == 0
    return engine


def test_killed_in_the_middle_of_a_step_and_resumed_with_the_same_result(
    straight: Engine, demo: RunSpec, tmp_path: Path
) -> None:
    spec = small(demo, max_steps=STEPS, save_steps=10)
    killed = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT=f"kill@{KILLED_AT}")
    assert killed.process.returncode == -9
    check_after_fault(
        killed, failure="killed", state="interrupted", checkpoint=20, trained=False, alive=False, exit_code=137
    )
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    (resumed,) = later.events_of(ev.Resumed)
    assert resumed.step == 20
    once, again = ({s.step: s.loss for s in engine.events_of(ev.Step)} for engine in (straight, later))
    assert list(once) == list(range(1, STEPS + 1))
    assert sorted(again) == list(once)
    assert max(abs(once[step] - again[step]) for step in once) < 1e-6
    one, two = (load_file(engine.folder.adapter / "adapter_model.safetensors") for engine in (straight, later))
    assert set(one) == set(two)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert any(float(weight.abs().max()) > 0 for name, weight in one.items() if "lora_B" in name)
    assert all(torch.isfinite(weight).all() for weight in two.values())
    check_after_fault(later, state="completed", trained=True, alive=False)


def test_other_library_versions_than_at_the_start_are_told_on_resume(demo: RunSpec, tmp_path: Path) -> None:
    killed = run_to_end(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="kill@5")
    recorded = killed.folder.events.read_text()
    here = killed.events_of(ev.EngineStarted)[0].versions["trl"]
    killed.folder.events.write_text(recorded.replace(f'"trl":"{here}"', '"trl":"0.1"'))
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    (notice,) = [one for one in later.events_of(ev.Notice) if one.code == "versions_changed"]
    assert notice.level == "warning"
    assert f"trl 0.1 → {here}" in str(notice.message)


def test_sigterm_and_a_resume_lose_and_repeat_no_step(straight: Engine, demo: RunSpec, tmp_path: Path) -> None:
    spec = small(demo, max_steps=STEPS, save_steps=0)
    engine = Engine(tmp_path / "run", spec, "--exit", LORIS_FAULT="slow@0.1")
    try:
        engine.wait_for(lambda: len(engine.events_of(ev.Step)) >= 3)
        engine.process.terminate()
        assert engine.finish() == 143
    finally:
        engine.kill()
    step = engine.events_of(ev.Step)[-1].step
    (saved,) = engine.events_of(ev.CheckpointSaved)
    assert saved.step == step
    with engine.folder.events.open("ab") as file:
        file.write(b'{"type":"Step","torn')  # as a kill leaves it
    later = Engine(tmp_path / "run", None, "--exit", LORIS_FAULT="slow@0.1")
    try:
        later.wait_for(lambda: len(later.events_of(ev.Step)) >= step + 2)
        assert isinstance(Client(later.folder).ask(co.Stop), co.Done)
        assert later.finish() == 0
    finally:
        later.kill()
    steps = later.events_of(ev.Step)
    assert [one.step for one in steps] == list(range(1, len(steps) + 1))
    once = straight.events_of(ev.Step)
    assert all(abs(one.loss - other.loss) < 1e-6 for one, other in zip(steps, once, strict=False))
    (finished,) = later.events_of(ev.TrainingFinished)
    assert (finished.outcome, finished.steps) == ("stopped", steps[-1].step)
    assert finished.steps < STEPS
    check_after_fault(later, state="stopped", trained=True, alive=False, checkpoint=finished.steps)


def test_more_steps_go_on_from_a_finished_run(straight: Engine, tmp_path: Path) -> None:
    shutil.copytree(straight.folder.path, tmp_path / "run")
    spec = with_changes(load_spec(straight.folder.spec), training={"max_steps": STEPS + 3})
    more = run_to_end(tmp_path / "run", spec, "--resume", "--exit")
    assert more.finish() == 0
    assert more.events_of(ev.TrainingFinished)[-1].steps == STEPS + 3
    assert [s.step for s in more.events_of(ev.Step)][STEPS:] == [STEPS + 1, STEPS + 2, STEPS + 3]
    assert manifest.find_fault(more.folder.adapter) == ""


def test_settings_that_may_not_change_are_refused(straight: Engine, tmp_path: Path) -> None:
    shutil.copytree(straight.folder.path, tmp_path / "run")
    edited = with_changes(load_spec(straight.folder.spec), training={"learning_rate": 1e-5, "max_steps": STEPS + 3})
    refused = run_to_end(tmp_path / "run", edited, "--resume", "--exit")
    assert refused.finish() == 2
    assert [(one.code, one.field) for one in refused.events_of(ev.Failed)] == [
        ("resume_refused", "training.learning_rate")
    ]
    assert len(refused.events_of(ev.Step)) == STEPS
    assert manifest.find_fault(refused.folder.adapter) == "", "what was trained before is still there"


def test_all_steps_done_but_no_adapter(straight: Engine, tmp_path: Path) -> None:
    """Killed between the last checkpoint and the adapter: the weights of the checkpoint are the adapter."""
    shutil.copytree(straight.folder.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/adapter")
    last = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert last.finish() == 0
    one, two = (load_file(engine.folder.adapter / "adapter_model.safetensors") for engine in (straight, last))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len(last.events_of(ev.Step)) == STEPS
