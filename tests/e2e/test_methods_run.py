"""Every training method once, for a few steps of its demo. `test_method_*`, which are slow, compare the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.presets import shipped_preset
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from tests.helpers.engine_process import with_changes
from tests.helpers.script_process import outputs, start
from tui.text.method import CHOICES

STEPS = 3
METHODS = [name for name in CHOICES if name != "sft"]  # which the other tests train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    place = tmp_path_factory.mktemp("methods")
    found = {name: RunFolder(place / name) for name in METHODS}
    for name, folder in found.items():
        folder.path.mkdir()
        spec = load_spec(shipped_preset(CHOICES[name].preset))
        steps = {"max_steps": STEPS, "warmup_steps": 1, "save_steps": 0, "dataset_num_proc": 1}
        # Eight answers of eight tokens to one prompt: most of the time is spent in writing them.
        short = {"grpo": {"max_completion_length": 8, "num_generations": 4}} if name == "grpo" else {}
        batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
        save_spec(folder.spec, with_changes(spec, training=steps | batch, generation={"prompts": ()}, **short))
    outputs(start("train_with_loris.py", place, [folder.path for folder in found.values()]))
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_and_saves(name: str, runs: dict[str, RunFolder]) -> None:
    folder, choice = runs[name], CHOICES[name]
    state = read_state(folder.events)
    assert state.finished
    assert (state.finished.outcome, state.finished.steps) == ("completed", STEPS)
    assert state.trained
    assert folder.has_result
    assert folder.model.is_dir() is choice.full_finetuning
    assert bool(state.metrics) is (choice.method not in ("sft", "cpt"))
    if name == "grpo":
        assert state.trial
        assert state.completions
    assert not [path for path in Path(folder.result).rglob("*") if path.name == "ref"], "no reference is saved"
    events = map(ev.decode, folder.events.read_bytes().splitlines())
    assert sum(isinstance(event, ev.Step) for event in events) == STEPS
