"""Short runs of DPO, ORPO and KTO on the demo's small talk, for the tests of these methods."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from presets.demo import make_preferences as made
from tests.helpers.engine_process import with_changes

NAMES = ("dpo", "orpo", "kto")
STEPS = 20
RATES = {"dpo": 2e-3, "orpo": 4e-3, "kto": 2e-3}
Rows = list[dict[str, Any]]


def rows_for(name: str, pairs: list[made.Pair]) -> Rows:
    """Of pairs, in the order that a seed gives; votes are mixed."""
    if name == "kto":
        found = [vote for pair in pairs for vote in made.as_votes(pair)]
    else:
        found = [made.as_pair(pair) for pair in pairs]
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


def spec_for(name: str, place: Path, kind: str = "true") -> RunSpec:
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


def events_of(folder: RunFolder, kind: type[Any]) -> list[Any]:
    found = [ev.decode(line) for line in folder.events.read_bytes().splitlines()]
    return [event for event in found if isinstance(event, kind)]
