"""DPO, ORPO and KTO: numbers equal TRL's, held-out answers move as wished, and nothing of the reference is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from engine.config.methods import METHODS
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.protocol.state import RunState, read_state
from engine.runs.folder import RunFolder
from presets.demo import make_preferences as made
from tests.helpers.preference_runs import NAMES, STEPS, Rows, events_of, spec_for
from tests.helpers.script_process import json_lines, outputs, start

# Of the rewards on held-out rows. ORPO's is of mean log-probabilities, the others' of sums.
MARGINS = {"dpo": 0.3, "orpo": 0.02, "kto": 0.3}
Runs = dict[tuple[str, str], RunFolder]
Trained = tuple[Runs, dict[str, Rows]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preferences")


@pytest.fixture(scope="module")
def trained(place: Path) -> Trained:
    """(each method's run on its data and on shuffled data, what the plain script logs for the first)."""
    folders = {}
    for name in NAMES:
        for kind in ("true", "shuffled"):
            folder = folders[name, kind] = RunFolder(place / f"run-{name}-{kind}")
            folder.path.mkdir()
            save_spec(folder.spec, spec_for(name, place, kind))
    loris = start("train_with_loris.py", place, [folder.path for folder in folders.values()])
    plain = start("train_methods_without_loris.py", place, [folders[name, "true"].spec for name in NAMES])
    return folders, dict(zip(NAMES, json_lines(outputs(loris, plain)[1]), strict=True))


@pytest.fixture(scope="module")
def folders(trained: Trained) -> Runs:
    return trained[0]


def own(name: str, logged: dict[str, float], prefix: str = "") -> dict[str, float]:
    """The method's own metrics in a log."""
    return {one.key: logged[prefix + one.key] for one in METHODS[name].metrics if prefix + one.key in logged}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_metrics_equal_a_plain_script(name: str, trained: Trained) -> None:
    steps = events_of(trained[0][name, "true"], ev.Step)
    expected = [log for log in trained[1][name] if "loss" in log]
    assert len(steps) == len(expected) == STEPS
    for step, log in zip(steps, expected, strict=True):
        assert step.loss == pytest.approx(log["loss"], abs=1e-5)
        assert step.metrics == pytest.approx(own(name, log), abs=1e-5)
        assert step.tokens_per_second > 0
    assert len(steps[-1].metrics) == len(METHODS[name].metrics)
    (evaluated,) = events_of(trained[0][name, "true"], ev.Evaluated)
    (held_out,) = [log for log in trained[1][name] if "eval_loss" in log]
    assert evaluated.eval_loss == pytest.approx(held_out["eval_loss"], abs=1e-5)
    assert evaluated.metrics == pytest.approx(own(name, held_out, "eval_"), abs=1e-5)
    assert evaluated.metrics


def preferred(state: RunState, adapter: bool) -> float:
    """The share of held-out prompts whose greedy answer is the preferred one."""
    wanted = {pair[0]: pair[1] for pair in made.small_talk()[1]}
    answers = [one for one in state.answers if one.adapter is adapter]
    assert len(answers) >= 8
    return sum(one.answer.strip() == wanted[one.prompt] for one in answers) / len(answers)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_held_out_answers_move_and_do_not_if_the_data_is_shuffled(name: str, folders: Runs) -> None:
    true, by_lot = (read_state(folders[name, kind].events) for kind in ("true", "shuffled"))
    assert preferred(true, adapter=False) <= 0.2
    assert preferred(true, adapter=True) >= 0.8
    assert preferred(by_lot, adapter=True) <= preferred(true, adapter=True) - 0.4
    margins = [state.eval_metrics["rewards/margins"] for state in (true, by_lot)]
    assert margins[0] > MARGINS[name]
    assert margins[0] > 4 * margins[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_in_no_file(name: str, folders: Runs) -> None:
    folder = folders[name, "true"]
    saved = [folder.adapter, *folder.checkpoints.glob("checkpoint-*")]
    assert len(saved) == 3
    for place in saved:
        assert [path.relative_to(place).name for path in place.rglob("adapter_model*")] == [
            "adapter_model.safetensors"
        ]
        assert not [key for key in load_file(place / "adapter_model.safetensors") if "ref" in key.split(".")]
