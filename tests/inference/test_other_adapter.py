"""Compared adapters share one base model, and with the adapter off it is exact to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from tests.helpers.engine_process import ENVIRONMENT, ROOT, Engine, with_changes

SCRIPT = """
import json, sys
from contextlib import nullcontext
from pathlib import Path
import unsloth
import torch
from unsloth import FastLanguageModel
from engine.model import loading
from engine.inference.other_adapter import OtherAdapter
from engine.inference.base_model import base_model
from engine.runtime.event_writer import EventWriter
from engine.config.spec_files import load_spec

spec, first, second, events = map(Path, sys.argv[1:])
spec, record = load_spec(spec).model, EventWriter(events)
base = loading.load(spec, record)
loaded = loading.load(spec, record, first)
for one in (base, loaded):
    FastLanguageModel.for_inference(one.model)
ids = torch.tensor([base.tokenizer("Who are you?")["input_ids"]])

def logits(m):
    with torch.no_grad():
        return m(input_ids=ids).logits

def storage(m):
    return sum(p.untyped_storage().nbytes() for p in {p.data_ptr(): p for p in m.parameters()}.values())

bare = logits(base.model)
with base_model(loaded):
    off = logits(loaded.model)
on = logits(loaded.model)
before, others = storage(loaded.model), OtherAdapter()
with others.use(loaded, str(second)):
    other = logits(loaded.model)
    during = storage(loaded.model)
with base_model(loaded):
    off_after = logits(loaded.model)
on_after = logits(loaded.model)
others.drop(loaded)
print(json.dumps({
    "off": torch.equal(off, bare), "off_after": torch.equal(off_after, bare),
    "on": torch.equal(on, bare), "on_after": torch.equal(on_after, on), "other": torch.equal(other, on),
    "base": storage(base.model), "before": before, "during": during, "after": storage(loaded.model),
}))
"""


def test_adapters_share_one_base(demo: RunSpec, tmp_path: Path) -> None:
    short = with_changes(
        demo, training={"max_steps": 2, "save_steps": 0, "warmup_steps": 0}, generation={"prompts": ()}
    )
    engines = [
        Engine(tmp_path / name, with_changes(short, training={"learning_rate": rate}), "--exit")
        for name, rate in (("one", 1e-2), ("two", 2e-3))
    ]
    assert [engine.finish() for engine in engines] == [0, 0]
    spec = tmp_path / "spec.yaml"
    save_spec(spec, short)
    adapters = [engine.folder.adapter for engine in engines]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, spec, *adapters, tmp_path / "events.jsonl"],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert found["off"], "with the adapter off it is the base model, to the last bit"
    assert found["off_after"]
    assert not found["on"], "and with it on, it is not"
    assert found["on_after"]
    assert not found["other"], "the other adapter gives other logits"
    adapter = found["before"] - found["base"]
    assert 0 < adapter < found["base"]
    assert found["during"] == found["base"] + 2 * adapter, "two adapters, and one copy of the base"
    assert found["after"] == found["before"]
