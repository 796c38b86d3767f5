"""DPO, ORPO and KTO: numbers equal TRL's, held-out answers move as wished, and nothing of the reference is left."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from engine.config.methods import METHODS
from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.protocol.state import RunState, read_state
from engine.runs.folder import RunFolder
from presets.demo import make_preferences as made
from tests.helpers.engine_process import with_changes
from tests.helpers.script_process import json_lines, outputs, start

NAMES = ("dpo", "orpo", "kto")
STEPS = 20
RATES = {"dpo": 2e-3, "orpo": 4e-3, "kto": 2e-3}
Rows = list[dict[str, Any]]


def rows_for(name: str, pairs: list[made.Pair]) -> Rows:
    """Of pairs, in the order that a seed gives; votes are mixed."""
    found = (
        [vote for pair in pairs for vote in made.as_votes(pair)]
        if name == "kto"
        else list(map(made.as_pair, pairs))
    )
    random.Random(1).shuffle(found)
    return found


def shuffled(rows: Rows) -> Rows:
    """The same rows, with the sides or votes drawn by lot."""
    drawn = random.Random(2)
    if "label" in rows[0]:
        votes = [row["label"] for row in rows]
        drawn.shuffle(votes)
        return [{**row, "label": vote} for row, vote in zip(rows, votes, strict=True)]
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    return [drawn.choice(both) for both in zip(rows, turned, strict=True)]


def write(path: Path, rows: Rows) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def spec_for(name: str, place: Path, kind: str) -> RunSpec:
    """A short run of the method's demo: on its data, or on shuffled data; evaluated on held-out pairs."""
    preset = find_preset(f"demo-{name}")
    assert preset
    assert preset.spec
    train, held_out = made.small_talk()
    rows = rows_for(name, train)
    data = write(place / f"{name}-{kind}.jsonl", shuffled(rows) if kind == "shuffled" else rows)
    kept = write(place / f"{name}-held.jsonl", rows_for(name, held_out))
    return with_changes(
        preset.spec,
        dataset={"path": data, "test_size": 0, "eval_path": kept},
        generation={"prompts": tuple(pair[0] for pair in held_out[::3]), "max_new_tokens": 24},
        training={
            "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": STEPS,
            "learning_rate": RATES[name], "eval_steps": STEPS, "save_steps": STEPS // 2, "dataset_num_proc": 1,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preferences")


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[dict[tuple[str, str], RunFolder], dict[str, Rows]]:
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
def folders(trained: tuple[dict[tuple[str, str], RunFolder], dict[str, Rows]]) -> dict[tuple[str, str], RunFolder]:
    return trained[0]


def events_of(folder: RunFolder, kind: type[Any]) -> list[Any]:
    found = [ev.decode(line) for line in folder.events.read_bytes().splitlines()]
    return [event for event in found if isinstance(event, kind)]


def own(name: str, logged: dict[str, float], prefix: str = "") -> dict[str, float]:
    """The method's own metrics in a log."""
    return {one.key: logged[prefix + one.key] for one in METHODS[name].metrics if prefix + one.key in logged}


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_metrics_equal_a_plain_script(
    name: str, trained: tuple[dict[tuple[str, str], RunFolder], dict[str, Rows]]
) -> None:
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


@pytest.mark.parametrize("name", NAMES)
def test_held_out_answers_move_and_do_not_if_the_data_is_shuffled(
    name: str, folders: dict[tuple[str, str], RunFolder]
) -> None:
    true, by_lot = (read_state(folders[name, kind].events) for kind in ("true", "shuffled"))
    assert preferred(true, adapter=False) <= 0.2
    assert preferred(true, adapter=True) >= 0.8
    assert preferred(by_lot, adapter=True) <= 0.5
    margins = [state.eval_metrics["rewards/margins"] for state in (true, by_lot)]
    assert margins[0] > 0.1
    assert margins[0] > 4 * margins[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_in_no_file(name: str, folders: dict[tuple[str, str], RunFolder]) -> None:
    folder = folders[name, "true"]
    saved = [folder.adapter, *folder.checkpoints.glob("checkpoint-*")]
    assert len(saved) == 3
    for place in saved:
        assert [path.relative_to(place).name for path in place.rglob("adapter_model*")] == [
            "adapter_model.safetensors"
        ]
        assert not [key for key in load_file(place / "adapter_model.safetensors") if "ref" in key.split(".")]
