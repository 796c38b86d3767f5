"""The chat on a GPU: an exact base model, one copy of its weights, and streamed answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import ENVIRONMENT, GREEDY, ROOT, Client, Engine, with_changes

pytestmark = pytest.mark.gpu

SCRIPT = """
import json, sys, tempfile
from pathlib import Path
import unsloth
import torch
from unsloth import FastLanguageModel
from engine.model import loading
from engine.inference.other_adapter import OtherAdapter
from engine.inference.generate import generate
from engine.model.inference_mode import inference_mode
from engine.runtime.event_writer import EventWriter
from engine.config.spec_files import load_spec
from engine.config.run_spec import GenerationSpec
from engine.prompting.prompt_format import PromptFormat
from engine.inference.base_model import base_model

spec, record = load_spec(Path(sys.argv[1])), EventWriter(Path(sys.argv[2]))
asked = [{"role": "user", "content": "Who are you?"}]
greedy = GenerationSpec(temperature=0, max_new_tokens=32)

def logits(loaded):
    found = []
    for text in ("<s><|user|>Who are you?<|assistant|>", "<s><|user|>What is 7 + 5?<|assistant|>" * 9):
        ids = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to("cuda")
        with torch.no_grad(), inference_mode(loaded.model):
            found.append(loaded.model(input_ids=ids).logits)
    return torch.cat([one.reshape(-1).float() for one in found])

def answer(loaded, adapter):
    return generate(loaded, PromptFormat("messages"), asked, greedy, adapter=adapter).text

torch.cuda.synchronize()
empty = torch.cuda.memory_allocated()
loaded = loading.load(spec.model, record)
base_bytes = torch.cuda.memory_allocated() - empty
before, answer_before = logits(loaded), answer(loaded, False)
loading.add_adapter(loaded, spec.lora, spec.model.max_seq_length, record)
with torch.no_grad():
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=1.0)  # enough to change its answer
on = logits(loaded)
answer_on = answer(loaded, True)
with base_model(loaded):
    off = logits(loaded)
answer_off = answer(loaded, False)
with loaded.model.disable_adapter():
    only_disabled = logits(loaded)
other = tempfile.mkdtemp()
loaded.model.save_pretrained(other)
torch.cuda.empty_cache()
start = torch.cuda.memory_allocated()
with OtherAdapter().use(loaded, other):
    during = torch.cuda.memory_allocated()
    answer_other = answer(loaded, True)
print(json.dumps({
    "off": torch.equal(before, off), "on": torch.equal(before, on),
    "max_diff": (before - off).abs().max().item(),
    "max_diff_only_disabled": (before - only_disabled).abs().max().item(),
    "answers": [answer_before, answer_off, answer_on, answer_other],
    "base_bytes": base_bytes, "grown": during - start,
    "layers": type(loaded.model.model.model.layers[0].self_attn.q_proj).__name__,
    "fused": loaded.model.model.model.layers[0].self_attn.apply_qkv.__name__,
}))
"""


def run(script: str, *arguments: Path) -> dict[str, Any]:
    """The last line a script prints, run in a separate Python process."""
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, cwd=ROOT, env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-4000:]
    found: dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    print(found)  # noqa: T201
    return found


@pytest.mark.parametrize("in_4bit", [True, False], ids=["4bit", "16bit"])
def test_the_base_is_exact_and_loaded_once(in_4bit: bool, demo: RunSpec, tmp_path: Path) -> None:
    spec = with_changes(demo, model={"load_in_4bit": in_4bit})
    save_spec(tmp_path / "spec.yaml", spec)
    found = run(SCRIPT, tmp_path / "spec.yaml", tmp_path / "events.jsonl")
    assert found["fused"] == "apply_lora_qkv", "with Unsloth's fused layers, which round differently"
    assert found["off"], "with the adapter off it is the base model, to the last bit"
    assert not found["on"]
    before, off, on, other = found["answers"]
    assert off == before
    assert on != before
    assert other == on, "the same adapter under another name"
    assert 0 < found["grown"] < found["base_bytes"], "a second adapter, and no second base"


def test_answers_are_streamed_and_the_base_answers_as_before_training(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", with_changes(demo, training={"save_steps": 0, "max_steps": 40}))
    try:
        engine.wait_for_stage("serving")
        client = Client(engine.folder)
        asked = [(a.prompt, a.answer) for a in engine.events_of(ev.Answered) if not a.adapter]
        assert len(asked) == 2
        limit = demo.generation.max_new_tokens
        generation = co.GenerationSpec(temperature=0, max_new_tokens=limit)
        for prompt, answer in asked:
            assert client.chat(prompt, adapter=False, generation=generation)[0] == answer
        number = client.send(
            co.Generate, messages=(co.ChatMessage("user", "Who are you?"),), adapter=True, generation=GREEDY
        )
        pieces = []
        while isinstance(reply := client.receive(), co.Token):
            pieces.append(reply.text)
        assert isinstance(reply, co.Done)
        assert reply.id == number
        assert "Loris" in "".join(pieces)
        assert len(pieces) > 1, "in pieces, as it is generated"
        assert reply.finish_reason == "eos"
        client.close()
    finally:
        engine.kill()
