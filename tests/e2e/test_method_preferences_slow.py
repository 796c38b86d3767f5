"""Preference trainings that are killed, continue an adapter, are chatted with and exported; and every loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.config.fields import field_info
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from presets.demo import make_preferences as made
from tests.helpers.engine_process import Client, Engine, with_changes
from tests.helpers.preference_runs import NAMES, STEPS, events_of, spec_for, write
from tests.helpers.script_process import outputs, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Runs = dict[str, RunFolder]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preferences")


def train(specs: dict[str, RunSpec], place: Path) -> Runs:
    folders = {name: RunFolder(place / name) for name in specs}
    for name, folder in folders.items():
        folder.path.mkdir()
        save_spec(folder.spec, specs[name])
    outputs(start("train_with_loris.py", place, [folder.path for folder in folders.values()]))
    return folders


@pytest.fixture(scope="module")
def specs(place: Path) -> dict[str, RunSpec]:
    """Of each method, and of one that continues the adapter of DPO."""
    found = {name: with_changes(spec_for(name, place), generation={"prompts": ()}) for name in NAMES}
    continued = with_changes(found["dpo"], model={"model_name": str(place / "dpo" / "adapter")})
    return {**found, "continued": continued}


@pytest.fixture(scope="module")
def straight(specs: dict[str, RunSpec], place: Path) -> Runs:
    """Runs that nothing interrupts."""
    return train(specs, place)


def apart(one: RunFolder, other: RunFolder) -> float:
    """The largest difference of two trained weights."""
    mine, theirs = (load_file(folder.adapter / "adapter_model.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    return max(float(np.abs(mine[name] - theirs[name]).max()) for name in mine)


@pytest.mark.parametrize("name", [*NAMES, "continued"])
def test_a_killed_run_resumes_to_the_same_weights(
    name: str, specs: dict[str, RunSpec], straight: Runs, tmp_path: Path
) -> None:
    killed = Engine(tmp_path / "run", specs[name], "--exit")
    killed.wait_for(lambda: killed.events_of(ev.CheckpointSaved))
    killed.kill()
    assert not killed.folder.adapter.exists()
    later = Engine(tmp_path / "run", None)
    try:
        later.wait_for_stage("serving")
        assert [one.step for one in later.events_of(ev.Resumed)] == [STEPS // 2]
        distance = apart(later.folder, straight[name])
        print(f"{name}: largest difference of a weight {distance:.1e}")  # noqa: T201
        assert distance < 1e-6
        check_chat_and_exports(later, tmp_path, base=name != "continued")
    finally:
        later.kill()


def check_chat_and_exports(engine: Engine, place: Path, *, base: bool) -> None:
    """The adapter answers in the preferred way, what it began with in the usual way; exports lack the reference."""
    client = Client(engine.folder)
    try:
        prompt, wanted, usual = made.small_talk()[1][8]
        assert client.chat(prompt, adapter=True)[0].strip() == wanted
        if base:
            assert client.chat(prompt, adapter=False)[0].strip() == usual
        for kind in ("adapter", "merged_16bit"):
            done = client.ask(co.Export, kind=kind, path=str(place / kind))
            assert isinstance(done, co.Done), done
            assert not list((place / kind).rglob("ref"))
    finally:
        client.close()


LOSSES = field_info("dpo.loss_type").choices


@pytest.fixture(scope="module")
def two_steps(place: Path) -> Runs:
    """Two steps with each loss, with the reference computed first, with votes of pairs, and with cut rows."""
    folder = place / "losses"
    folder.mkdir()
    short = {"max_steps": 2, "warmup_steps": 0, "eval_steps": 2, "save_steps": 0}
    dpo, kto = (
        with_changes(spec_for(name, folder), training=short, generation={"prompts": ()}) for name in ("dpo", "kto")
    )
    found = {
        loss: with_changes(
            dpo, dpo={"loss_type": loss, "label_smoothing": 0.1 if loss in ("robust", "exo_pair") else 0.0}
        )
        for loss in LOSSES
    }
    votes = write(folder / "pairs.jsonl", [made.as_pair(pair) for pair in made.small_talk()[0]])
    held = write(folder / "held.jsonl", [made.as_pair(pair) for pair in made.small_talk()[1]])
    found |= {
        "precomputed": with_changes(dpo, dpo={"precompute_ref_log_probs": True}),
        "apo_zero_unpaired": with_changes(kto, kto={"loss_type": "apo_zero_unpaired"}),
        "votes of pairs": with_changes(kto, dataset={"path": votes, "eval_path": held}),
        "cut": with_changes(dpo, model={"max_seq_length": 16}, dataset={"max_cut_share": 1.0}),
    }
    return train(found, folder)


@pytest.mark.parametrize("name", [*LOSSES, "precomputed", "apo_zero_unpaired", "votes of pairs", "cut"])
def test_every_loss_trains(name: str, two_steps: Runs) -> None:
    steps = events_of(two_steps[name], ev.Step)
    assert [step.loss is not None for step in steps] == [True, True]
    (evaluated,) = events_of(two_steps[name], ev.Evaluated)
    assert "rewards/chosen" in evaluated.metrics
    assert [one.outcome for one in events_of(two_steps[name], ev.TrainingFinished)] == ["completed"]


def test_a_reference_computed_first_is_the_same(two_steps: Runs) -> None:
    first, usual = (events_of(two_steps[name], ev.Step) for name in ("precomputed", "sigmoid"))
    assert [step.loss for step in first] == pytest.approx([step.loss for step in usual], abs=1e-6)


def test_rows_are_cut_and_said_to_be(two_steps: Runs) -> None:
    (ready,) = events_of(two_steps["cut"], ev.DatasetReady)
    assert 0 < ready.truncated_rows < ready.rows
