"""Drafting a model card: its content, its language, and that it shows no local path."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from engine.config.prompt_templates import ALPACA_ZH, before_answer, fill
from engine.config.run_spec import DatasetSpec, GenerationSpec, ModelSpec, RunSpec, TrainingSpec
from engine.config.spec_files import save_spec
from engine.hub.model_card import draft_card
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tui.text import translation

CARD = ev.Device(kind="cuda", name="T4", total_bytes=100)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    model = ModelSpec(model_name="unsloth/Llama-3.2-1B-Instruct")
    save_spec(folder.spec, RunSpec(model=model, dataset=DatasetSpec(path="yahma/alpaca-cleaned")))
    events = [
        ev.Step(step=1, epoch=0.5, loss=2.5, learning_rate=1e-4),
        ev.Step(step=2, epoch=1, loss=1.25, learning_rate=1e-4),
        ev.Evaluated(step=2, eval_loss=1.5),
        ev.TrainingFinished(outcome="completed", steps=2, train_loss=1.875, seconds=9, device=CARD,
                            start_reserved_bytes=0, peak_reserved_bytes=0),
    ]  # fmt: skip
    folder.events.write_bytes(b"".join(ev.encode(event) for event in events))
    return folder


def metadata(card: str) -> dict[str, object]:
    found: dict[str, object] = YAML(typ="safe").load(card.split("---\n")[1])
    return found


def test_metadata(run: RunFolder) -> None:
    found = metadata(draft_card(run, "adapter", "ann/mine", "llama3.2"))
    assert found["license"] == "llama3.2"
    assert found["base_model"] == "unsloth/Llama-3.2-1B-Instruct"
    assert (found["base_model_relation"], found["library_name"]) == ("adapter", "peft")
    assert found["datasets"] == ["yahma/alpaca-cleaned"]
    merged = metadata(draft_card(run, "merged_16bit", "ann/mine"))
    assert (merged["base_model_relation"], merged["library_name"]) == ("finetune", "transformers")
    assert "license" not in merged
    assert metadata(draft_card(run, "gguf", "ann/mine"))["base_model_relation"] == "quantized"


@pytest.mark.parametrize("kind", ["adapter", "merged_16bit"])
def test_a_reward_models_card_says_how_to_score(run: RunFolder, kind: str) -> None:
    save_spec(run.spec, RunSpec(training=TrainingSpec(method="reward")))
    card = draft_card(run, kind, "ann/mine")
    found = metadata(card)
    assert found["pipeline_tag"] == "text-classification"
    assert found["tags"] == ["lora", "reward-model", "loris"]
    assert "| Method | Reward model |" in card.splitlines()
    assert "ForSequenceClassification" in card
    assert "generate" not in card


def test_the_card_of_a_full_fine_tuning_names_no_adapter(run: RunFolder) -> None:
    save_spec(run.spec, RunSpec(model=ModelSpec(model_name="a/b", full_finetuning=True, load_in_4bit=False)))
    card = draft_card(run, "merged_16bit", "ann/mine")
    assert metadata(card)["tags"] == ["unsloth", "full-finetuning", "sft", "loris"]
    assert "Rank" not in card


def test_text(run: RunFolder) -> None:
    card = draft_card(run, "adapter", "ann/mine")
    for line in ("# mine", "| Training loss | 1.8750 |", "| Last loss | 1.2500 |", "| Steps | 2 |",
                 "| Loss on held-out examples | 1.5000 |", "| Learning rate | 0.0002 |",
                 "| License | unknown: see the base model's |"):  # fmt: skip
        assert line in card.splitlines()
    assert 'AutoPeftModelForCausalLM.from_pretrained("ann/mine"' in card
    assert 'AutoModelForCausalLM.from_pretrained("ann/mine"' in draft_card(run, "merged_16bit", "ann/mine")
    gguf = draft_card(run, "gguf", "mine")
    assert "llama-cli -hf {owner}/mine" in gguf
    assert "ollama run hf.co/{owner}/mine" in gguf


def python_of(card: str) -> str:
    """The Python code in the card."""
    return card.partition("```python\n")[2].partition("\n```")[0]


def prompt_of(run: RunFolder, spec: RunSpec, format: str) -> str:
    """The prompt that the card's code passes to the tokenizer."""
    ready = ev.DatasetReady(
        rows=9, eval_rows=0, format=format, columns=(), tokens=1, learned_tokens=1, truncated_rows=0,
        instruction_part="", response_part="", example_raw="", example_text="", example_learned="",
    )  # fmt: skip
    run.events.write_bytes(ev.encode(ready))
    save_spec(run.spec, spec)
    code = python_of(draft_card(run, "adapter", "ann/mine"))
    assert "apply_chat_template" not in code
    names: dict[str, str] = {}
    start = code.index("prompt = ")
    exec(code[start : code.index("\ninputs = ")], names)
    return names["prompt"]


@pytest.mark.parametrize("question", ["你是谁？", 'Say """hi"""\\', "two\nlines\n```", 'end"'])
def test_the_code_uses_the_prompt_format_of_the_training(run: RunFolder, question: str) -> None:
    asked = RunSpec(generation=GenerationSpec(prompts=(question,)))
    prompt = prompt_of(run, asked, "alpaca")
    assert prompt == fill(before_answer(asked.dataset.prompt_template), instruction=question)
    data = DatasetSpec(instruction_column="=请回答。", input_column="instruction", prompt_template=ALPACA_ZH)
    fixed = RunSpec(generation=asked.generation, dataset=data)
    assert prompt_of(run, fixed, "alpaca") == fill(before_answer(ALPACA_ZH), instruction="请回答。", input=question)
    assert prompt_of(run, asked, "plain") == question


def test_in_chinese(run: RunFolder) -> None:
    translation.set_language("zh")
    card = draft_card(run, "adapter", "ann/mine", translate=translation._)
    assert "## 如何运行" in card
    assert "| 训练损失 | 1.8750 |" in card
    assert metadata(card) == metadata(draft_card(run, "adapter", "ann/mine"))


def test_no_local_path_is_shown(run: RunFolder, tmp_path: Path) -> None:
    base = tmp_path / "secret folder" / "my-base"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: 'mit'\n---\n# Base\n")
    data = tmp_path / "secret folder" / "rows.jsonl"
    save_spec(run.spec, RunSpec(model=ModelSpec(model_name=str(base)), dataset=DatasetSpec(path=str(data))))
    card = draft_card(run, "adapter", "ann/mine")
    assert "secret" not in card
    assert str(tmp_path) not in card
    assert "| Base model | my-base |" in card
    assert "| Dataset | rows.jsonl (train) |" in card
    assert metadata(card)["license"] == "mit"
    assert "base_model" not in metadata(card)
    assert "datasets" not in metadata(card)


def test_a_run_without_a_spec(tmp_path: Path) -> None:
    assert draft_card(RunFolder(tmp_path), "adapter", "ann/mine").startswith("---\n")


def test_a_reward_model_is_described_as_one(run: RunFolder) -> None:
    save_spec(run.spec, RunSpec(training=TrainingSpec(method="reward")))
    card = draft_card(run, "adapter", "ann/judge")
    assert metadata(card)["pipeline_tag"] == "text-classification"
    assert "A reward model on" in card
    assert "AutoPeftModelForSequenceClassification" in card
    assert '"role": "assistant"' in card
    assert "generat" not in card
