"""Each training method beside a plain script by Unsloth and TRL, in turn: seconds a step and peak memory.

`python -m tests.bench.methods MODEL [METHOD ...]`: MODEL is a folder, best on a GPU, where the first steps compile.
Each training is a process of its own. `full` is SFT of all weights.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from engine.config.check import build_spec
from engine.config.methods import METHODS
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from tests.helpers.script_process import json_lines, outputs, start

PLAIN = "../../bench/plain_methods.py"
STEPS, WARM_STEPS = 20, 5  # the first steps compile, and are not counted
GB = 1 << 30
LONG = "because the sum of these two numbers is found by counting on from the first of them, one by one. " * 4


def rows(method: str) -> Iterator[dict[str, Any]]:
    """Rows of one method's own kind, of about 150 tokens."""
    for number in range(200):
        first, second = number % 17 + 1, number % 23 + 1
        prompt = f"What is {first} + {second}?"
        good, bad = f"{first + second}, {LONG}", f"I do not know, {LONG}"
        match METHODS[method].kinds[0]:
            case "preference":
                yield {"prompt": prompt, "chosen": good, "rejected": bad}
            case "votes":
                yield {"prompt": prompt, "completion": bad if number % 2 else good, "label": not number % 2}
            case "text":
                yield {"text": f"{prompt} {good}"}
            case _:
                yield {"prompt": prompt, "answer": good}


def spec_for(name: str, model: Path, data: Path) -> RunSpec:
    """A short run of a method, or of `full`."""
    full, method = name == "full", "sft" if name == "full" else name
    values: dict[str, Any] = {
        "model": {"model_name": str(model), "max_seq_length": 512, "full_finetuning": full},
        "dataset": {"path": str(data), "written_with": "chat_template"},
        "training": {
            "method": method, "max_steps": STEPS, "warmup_steps": 2, "save_steps": 0, "learning_rate": 1e-5,
            "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "dataset_num_proc": 1,
        },
        "generation": {"prompts": []},
    }  # fmt: skip
    if method == "grpo":
        values["grpo"] = {"num_generations": 8, "max_completion_length": 64,
                          "rewards": [{"check": "length", "unit": "characters", "min": 8, "max": 400}]}  # fmt: skip
    spec, errors = build_spec(values)
    assert not errors, errors
    assert spec
    return spec


def with_loris(spec: RunSpec, place: Path) -> tuple[list[float], list[float], float]:
    """(losses, seconds of the counted steps, peak bytes) of a run by Loris's engine."""
    folder = RunFolder(place / "run")
    folder.path.mkdir()
    save_spec(folder.spec, spec)
    outputs(start("train_with_loris.py", place, [folder.path], compiled=True))
    found = [ev.decode(line) for line in folder.events.read_bytes().splitlines()]
    steps = [event for event in found if isinstance(event, ev.Step)]
    times = [after.elapsed - before.elapsed for before, after in pairwise(steps)]
    finished = read_state(folder.events).finished
    assert finished
    return [step.loss or 0.0 for step in steps], times[WARM_STEPS:], float(finished.peak_reserved_bytes)


def without_loris(spec: RunSpec, place: Path) -> tuple[list[float], list[float], float]:
    """The same of a plain script."""
    file = place / "plain.yaml"
    save_spec(file, spec)
    [output] = outputs(start(PLAIN, place, [file], compiled=True))
    [losses, seconds, peak] = json_lines(output)[-1]
    return losses, seconds[WARM_STEPS + 1 :], peak


def main() -> None:
    model, names = Path(sys.argv[1]).resolve(), sys.argv[2:] or [*METHODS, "full"]
    tell = sys.stdout.write
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            data = place / "data.jsonl"
            method = "sft" if name == "full" else name
            data.write_text("".join(json.dumps(row) + "\n" for row in rows(method)))
            spec = spec_for(name, model, data)
            plain, loris = without_loris(spec, place), with_loris(spec, place)
            apart = max(abs(a - b) for a, b in zip(plain[0], loris[0], strict=True))
            tell(
                f"{name:7} s/step: plain {median(plain[1]):.3f}, Loris {median(loris[1]):.3f}; "
                f"peak GB: plain {plain[2] / GB:.2f}, Loris {loris[2] / GB:.2f}; losses apart {apart:.1e}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
