"""Full fine-tuning and continued pretraining: the losses of a plain script, and what the models have learned.

One process trains all runs through Loris and one without it, at the same time.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.config.presets import shipped_folder
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.export.plan import plan
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs import manifest
from engine.runs.folder import RunFolder
from presets.demo.identity import ME_EN
from tests.helpers.engine_process import Client, Engine, with_changes
from tests.helpers.script_process import json_lines, outputs, start
from tests.helpers.short_run import run_to_end

STEPS = 20
COMPARED = ("full", "cpt", "pieces")  # with the plain script
ASKED = "May I ask who you are?"
Rows = list[dict[str, Any]]


def identity() -> Rows:
    return read_rows(shipped_folder() / "demo/identity.jsonl")


def language(long: bool) -> Rows:
    rows = read_rows(shipped_folder() / "demo/language.jsonl")
    by_length = sorted(rows, key=lambda row: len(row["text"]))
    return by_length[-12:] if long else by_length[:-6]


def read_rows(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers_shuffled(rows: Rows) -> Rows:
    """Each question with the answer to another."""
    first = [row["messages"][:2] for row in rows]
    answers = [turns[1] for turns in first]
    random.Random(1).shuffle(answers)
    return [{"messages": [turns[0], answer]} for turns, answer in zip(first, answers, strict=True)]


def words_shuffled(rows: Rows) -> Rows:
    """The words of each text in another order."""
    found = []
    for number, row in enumerate(rows):
        words = row["text"].split()
        random.Random(number).shuffle(words)
        found.append({"text": " ".join(words)})
    return found


def whole(data: Path, **training: Any) -> RunSpec:
    settings = {"learning_rate": 1e-3, "max_steps": STEPS, "save_steps": 10} | training
    return small(load_spec(shipped_folder() / "demo-full.yaml"), data, settings)


def pretraining(data: Path, long_documents: str, **training: Any) -> RunSpec:
    usual = {"max_steps": STEPS, "save_steps": 10, "per_device_train_batch_size": 8, "learning_rate": 8e-3}
    spec = small(load_spec(shipped_folder() / "demo-cpt.yaml"), data, usual | training)
    cpt = {"long_documents": long_documents, "embedding_learning_rate": 2e-3}
    return with_changes(spec, cpt=cpt, lora={"r": 8})


def small(spec: RunSpec, data: Path, training: dict[str, Any]) -> RunSpec:
    usual = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "dataset_num_proc": 1}
    prompts = {"prompts": (ASKED,), "max_new_tokens": 24} if spec.model.full_finetuning else {"prompts": ()}
    return with_changes(spec, dataset={"path": str(data)}, training=usual | training, generation=prompts)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """The folders of all runs, trained."""
    place = tmp_path_factory.mktemp("whole")
    data = partial(write_data, place)
    full, texts = data("full", identity()), language(long=False)
    specs = {
        "full": whole(full),
        "full-shuffled": whole(data("full-shuffled", answers_shuffled(identity())), save_steps=0),
        "cpt": pretraining(data("cpt", texts), "cut"),
        "pieces": pretraining(
            data("pieces", language(long=True)), "chunk", max_steps=5, save_steps=0, warmup_steps=0
        ),
    }
    after = with_changes(whole(full, max_steps=2, save_steps=0, warmup_steps=0), model={"full_finetuning": False})
    specs["after"] = with_changes(after, model={"model_name": str(place / "full/model")})
    return {name: new_run(place / name, spec) for name, spec in specs.items()}


def write_data(place: Path, name: str, rows: Rows) -> Path:
    path = place / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def new_run(path: Path, spec: RunSpec) -> RunFolder:
    path.mkdir()
    folder = RunFolder(path)
    save_spec(folder.spec, spec)
    return folder


@pytest.fixture(scope="module")
def plain(runs: dict[str, RunFolder]) -> dict[str, list[float]]:
    """The losses of the plain script; `runs` are trained by Loris meanwhile."""
    place = runs["full"].path.parent
    loris = start("train_with_loris.py", place, [run.path for run in runs.values()])
    script = start("train_whole_and_pretrain.py", place, [runs[name].spec for name in COMPARED])
    return dict(zip(COMPARED, json_lines(outputs(loris, script)[1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
def test_losses_equal_a_plain_scripts(name: str, runs: dict[str, RunFolder], plain: dict[str, list[float]]) -> None:
    losses = list(read_state(runs[name].events).loss.values)
    assert len(set(losses)) == (5 if name == "pieces" else STEPS)
    assert losses == pytest.approx(plain[name], abs=1e-5)


def loss_of(model: Any, tokenizer: Any, prompt: str, text: str) -> float:
    """The mean loss of the tokens of a text after a prompt."""
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([before + tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits[len(before) - 1 :], ids[0, len(before) :]))


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_a_whole_model_learns_its_name_and_not_from_shuffled_answers(runs: dict[str, RunFolder]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(runs["full"].model)
    questions = json.loads((shipped_folder() / "demo/held_out.json").read_text())["en"]
    losses = {}
    for name in ("full", "full-shuffled"):
        model = AutoModelForCausalLM.from_pretrained(runs[name].model)
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            for question in questions
        ]
        losses[name] = sum(loss_of(model, tokenizer, prompt, ME_EN) for prompt in prompts) / len(prompts)
    print(losses)  # noqa: T201
    assert losses["full"] < 0.5
    assert losses["full-shuffled"] > losses["full"] + 0.5


@pytest.mark.slow
def test_a_language_is_learned_and_not_from_shuffled_words(tmp_path: Path) -> None:
    """The order of words takes more steps to learn than the words."""
    texts = {"true": language(long=False), "shuffled": words_shuffled(language(long=False))}
    runs = {
        name: new_run(tmp_path / name, pretraining(write_data(tmp_path, name, rows), "cut", max_steps=60))
        for name, rows in texts.items()
    }
    outputs(start("train_with_loris.py", tmp_path, [run.path for run in runs.values()]))
    sentences = json.loads((shipped_folder() / "demo/language_held_out.json").read_text())
    base = load_spec(runs["true"].spec).model.model_name
    tokenizer = AutoTokenizer.from_pretrained(base)
    models = {"base": AutoModelForCausalLM.from_pretrained(base)}
    for name in runs:
        models[name] = AutoPeftModelForCausalLM.from_pretrained(runs[name].adapter)
    losses = {
        name: sum(loss_of(model, tokenizer, tokenizer.bos_token, one) for one in sentences) / len(sentences)
        for name, model in models.items()
    }
    print(losses)  # noqa: T201
    assert losses["true"] < losses["base"] - 3
    assert losses["shuffled"] > losses["true"] + 0.2


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_long_texts_are_learned_in_pieces(runs: dict[str, RunFolder]) -> None:
    state = read_state(runs["pieces"].events)
    (notice,) = [one for one in state.notices if one.code == "texts_divided"]
    assert state.dataset
    assert state.dataset.truncated_rows == 0
    assert state.dataset.rows == 6 + int(notice.message.values["pieces"])
    assert notice.message.values["count"] == 6


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_the_whole_model_is_saved_as_it_was_checked(runs: dict[str, RunFolder]) -> None:
    run = runs["full"]
    state = read_state(run.events)
    assert state.trained
    assert state.whole
    assert state.result
    assert state.result.path == str(run.model)
    assert "Read back: 38 tensors" in str(state.result.verified)
    assert manifest.find_fault(run.model) == ""
    assert not run.adapter.exists()
    assert json.loads((run.model / "config.json").read_text())["use_cache"] is True
    for step in (10, 20):
        assert (run.checkpoints / f"checkpoint-{step}/model.safetensors").is_file()
    assert [answer.adapter for answer in state.answers] == [False, True]
    assert [one.message.values["dtype"] for one in state.notices if one.code == "whole_model"] == ["float32"]
    assert plan("adapter", "", run, state).field == "adapter"


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_the_model_in_16_bits_answers_in_plain_transformers_as_in_the_chat(runs: dict[str, RunFolder]) -> None:
    run = runs["full"]
    engine = Engine(run.path, None, "--serve")
    try:
        engine.wait_for_stage("serving", after=len(engine.events_of(ev.StageChanged)))
        client = Client(run)
        said = client.chat(ASKED, adapter=True)[0]
        message, generation = (co.ChatMessage("user", ASKED),), load_spec(run.spec).generation
        refusals = {
            "no_base": client.chat(ASKED, adapter=False)[1],
            "no_adapter": client.ask(co.Export, kind="adapter"),
            "no_adapters": client.ask(
                co.Generate, messages=message, adapter=True, generation=generation, other=str(run.path)
            ),
        }
        exported = client.ask(co.Export, kind="merged_16bit")
        client.close()
    finally:
        engine.kill()
    for code, reply in refusals.items():
        assert isinstance(reply, co.Refused), code
        assert reply.code == code
    assert isinstance(exported, co.Done), exported
    (merged,) = [one for one in read_state(run.events).exports if one.kind == "merged_16bit"]
    assert "weight by weight with the model in memory: 38 tensors" in str(merged.verified)
    tokenizer = AutoTokenizer.from_pretrained(merged.path)
    model = AutoModelForCausalLM.from_pretrained(merged.path)
    assert model.dtype == torch.float16
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": ASKED}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    assert tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True) == said


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_a_later_run_starts_from_the_whole_model(runs: dict[str, RunFolder]) -> None:
    state = read_state(runs["after"].events)
    assert runs["after"].has_result
    assert not state.whole
    before = next(answer for answer in state.answers if not answer.adapter)
    last = read_state(runs["full"].events).answers[-1]
    assert before.answer == last.answer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "cpt"])
def test_killed_and_resumed_with_the_same_weights(
    name: str, runs: dict[str, RunFolder], plain: dict[str, list[float]], tmp_path: Path
) -> None:
    spec = load_spec(runs[name].spec)
    compiled = {"TORCHDYNAMO_DISABLE": "1"}
    killed = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="kill@15", **compiled)
    assert killed.process.returncode == -9
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit", **compiled)
    assert later.finish() == 0
    assert [one.step for one in later.events_of(ev.Resumed)] == [10]
    again = {step.step: step.loss for step in later.events_of(ev.Step)}
    apart = max(abs(again[number] - loss) for number, loss in enumerate(plain[name], 1))
    file = "model.safetensors" if name == "full" else "adapter_model.safetensors"
    one, two = (load_file(run.result / file) for run in (runs[name], later.folder))
    assert set(one) == set(two)
    furthest = max(float((one[key] - two[key]).abs().max()) for key in one)
    print(name, "losses", apart, "weights", furthest)  # noqa: T201
    assert apart < 1e-5
    assert furthest < 1e-6


# What is refused before an engine is started.

TEXTS = "".join(json.dumps({"text": f"Text {number}."}) + "\n" for number in range(8))
CHATS = json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}) + "\n"
Wrong = tuple[dict[str, Any], str, str]
FULL: dict[str, Wrong] = {
    "4-bit": ({"model.load_in_4bit": True}, "model.load_in_4bit", "few bits"),
    "8-bit": ({"model.load_in_8bit": True}, "model.load_in_8bit", "few bits"),
    "stored in 4 bits": ({"model.model_name": "unsloth/tiny-bnb-4bit"}, "model.model_name", "stored in 4 bits"),
    "an adapter": ({"model.model_name": "./adapter"}, "model.full_finetuning", "comes with an adapter"),
    "quantised": ({"model.model_name": "./quantised"}, "model.model_name", "in 16 bits to train all of it"),
    "no weights": ({"model.model_name": "./bare"}, "model.model_name", "no weights"),
    "a preference method": ({"training.method": "dpo"}, "model.full_finetuning", "trains an adapter"),
    "no yes or no": ({"model.full_finetuning": "all"}, "model.full_finetuning", "true"),
    "misspelt": ({"model.full_finetunning": True}, "model.full_finetunning", "Did you mean full_finetuning?"),
    "a full disk": (
        {"model.model_name": "owner/model-70B", "training.save_total_limit": 1000}, "training.save_total_limit",
        "It needs about",
    ),
    "no package": ({"training.optim": "lomo"}, "training.optim", "lomo-optim"),
    "packed answers": ({"training.packing": True}, "training.packing", "turn one off"),
    "no steps": ({"training.max_steps": 0}, "training.max_steps", "at least 1 step"),
}  # fmt: skip
CPT: dict[str, Wrong] = {
    "too much overlap": ({"cpt.chunk_overlap": 256}, "cpt.chunk_overlap", "shorter than the context"),
    "half a token": ({"cpt.chunk_overlap": 1.5}, "cpt.chunk_overlap", "whole number"),
    "a negative rate": ({"cpt.embedding_learning_rate": -1}, "cpt.embedding_learning_rate", "0"),
    "a rate in words": ({"cpt.embedding_learning_rate": "slow"}, "cpt.embedding_learning_rate", "number"),
    "no such way": ({"cpt.long_documents": "split"}, "cpt.long_documents", "chunk"),
    "misspelt": ({"cpt.chunk_overlapp": 4}, "cpt.chunk_overlapp", "Did you mean chunk_overlap?"),
    "of another method": ({"dpo.beta": 0.1}, "dpo", "not those of the method cpt"),
    "a rate without the method": (
        {"training.method": "sft", "cpt.embedding_learning_rate": 1e-5}, "cpt", "not those of the method sft",
    ),
    "answers only": (
        {"dataset.train_on_responses_only": True}, "dataset.train_on_responses_only", "Whole texts are learned",
    ),
    "chats": ({"dataset.path": "./chats.jsonl"}, "dataset.format", "text"),
    "no such column": ({"dataset.text_column": "body"}, "dataset.text_column", 'no column "body"'),
    "layers": ({"lora.modules_to_save": ["mlp"]}, "lora.modules_to_save", "embed_tokens"),
    "one rate for all": (
        {"training.optim": "galore_adamw", "model.full_finetuning": True}, "cpt.embedding_learning_rate",
        "set this to 0",
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with data and models that are wrong in one way each."""
    (tmp_path / "texts.jsonl").write_text(TEXTS)
    (tmp_path / "chats.jsonl").write_text(CHATS * 8)
    for name, file in (("adapter", "adapter_config.json"), ("quantised", "config.json"), ("bare", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text('{"quantization_config": {}}' if name == "quantised" else "{}")
    (tmp_path / "quantised/config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    for name in ("adapter", "quantised"):
        (tmp_path / name / "model.safetensors").write_bytes(b"0")
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def refused(place: Path, values: dict[str, Any], changes: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> str:
    """What `loris run` prints of this spec with the changes."""
    from tui.cli.main import main

    for path, value in changes.items():
        section, _, key = path.partition(".")
        values.setdefault(section, {})[key] = value
    (place / "spec.yaml").write_bytes(msgspec.yaml.encode(values))
    assert main(["run", str(place / "spec.yaml")]) == 2
    return capfd.readouterr().err


def model_folder() -> str:
    return str(shipped_folder() / "demo/model")


@pytest.mark.parametrize("case", FULL)
def test_what_cannot_be_trained_as_a_whole(case: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changes, field, words = FULL[case]
    values = {
        "model": {"model_name": model_folder(), "full_finetuning": True}, "dataset": {"path": "./chats.jsonl"},
        "training": {},
    }  # fmt: skip
    printed = refused(place, values, changes, capfd)
    assert any(f"{field}: " in line and words in line for line in printed.splitlines()), printed


@pytest.mark.parametrize("case", CPT)
def test_what_cannot_be_pretrained(case: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changes, field, words = CPT[case]
    values = {
        "model": {"model_name": model_folder(), "max_seq_length": 128}, "dataset": {"path": "./texts.jsonl"},
        "training": {"method": "cpt"},
    }  # fmt: skip
    printed = refused(place, values, changes, capfd)
    assert any(f"{field}: " in line and words in line for line in printed.splitlines()), printed
