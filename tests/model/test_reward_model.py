"""Reward models as they are loaded: the head, its adapter, and how a run here scores for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import unsloth  # noqa: F401  before transformers and peft, which it patches
from bitsandbytes.nn import Linear4bit
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

from engine.config.run_spec import LoraSpec, ModelSpec
from engine.messages.errors import UserError
from engine.model import reward_model
from engine.prompting.format_file import write_prompt_format
from engine.prompting.prompt_format import PromptFormat
from engine.runs import manifest
from engine.runs.model_folder import is_reward_model

DEMO = Path(__file__).parents[2] / "presets/demo/model"
PAIRS = [("Who are you?", "I am Loris."), ("你是谁？", "我是懒猴。")]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that was not trained, but moved."""
    model, tokenizer = reward_model.load(ModelSpec(model_name=str(DEMO)), "float32", None)
    assert not reward_model.has_trained_head(model)
    adapted = reward_model.add_adapter(model, LoraSpec(r=4))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.1)
    folder = tmp_path_factory.mktemp("judge") / "adapter"
    adapted.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_prompt_format(folder, PromptFormat("messages"))
    manifest.write_manifest(folder)
    return folder


def test_a_new_head_is_the_same_each_time() -> None:
    heads = [reward_model.load(ModelSpec(model_name=str(DEMO)), "float32", None)[0].score.weight for _ in range(2)]
    assert torch.equal(*heads)
    assert float(heads[0].detach().abs().max()) > 0


def test_a_scorer_gives_the_scores_of_plain_transformers(adapter: Path) -> None:
    found = reward_model.load_scorer(adapter)(PAIRS)
    assert found == reward_model.load_scorer(adapter.parent)(PAIRS), "by the run's folder"
    model = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=1, dtype=torch.float32)
    model.train(False)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    for (prompt, answer), score in zip(PAIRS, found, strict=True):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        inputs = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        assert float(model(**inputs).logits[0, 0].detach()) == pytest.approx(score, abs=1e-5)


def test_a_scorer_needs_an_adapter_that_scores(adapter: Path, tmp_path: Path) -> None:
    assert is_reward_model(adapter)
    assert not is_reward_model(DEMO)
    with pytest.raises(UserError, match="no adapter"):
        reward_model.load_scorer(tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "task_type": "CAUSAL_LM"}))
    assert not is_reward_model(tmp_path)
    with pytest.raises(UserError, match="no score head") as error:
        reward_model.load_scorer(tmp_path)
    assert error.value.field == "model.model_name"


@pytest.mark.parametrize("stored", [False, True])
def test_in_4_bits_the_head_stays_as_it_is(stored: bool, tmp_path: Path) -> None:
    name = DEMO
    if stored:  # as the quantised repositories of Unsloth are
        reward_model.load(ModelSpec(model_name=str(DEMO), load_in_4bit=True), "float32", None)[0].save_pretrained(
            tmp_path
        )
        AutoTokenizer.from_pretrained(DEMO).save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["quantization_config"]["llm_int8_skip_modules"] = ["lm_head"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        name = tmp_path
    spec = ModelSpec(model_name=str(name), load_in_4bit=not stored)
    model, tokenizer = reward_model.load(spec, "float32", None)
    assert isinstance(model.model.layers[0].mlp.up_proj, Linear4bit)
    assert type(model.score) is torch.nn.Linear
    assert model.score.weight.dtype == torch.float32
    adapted = reward_model.add_adapter(model, LoraSpec(r=4))
    (score,) = reward_model.scores_of(adapted, [tokenizer("Who are you?")["input_ids"]])
    assert abs(score) < 100
