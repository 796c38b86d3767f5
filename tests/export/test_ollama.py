"""The template of a Modelfile writes conversations as the model's own template does, for the named families."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first, because it patches the others
# isort: on

import pytest
from transformers import AutoTokenizer

from engine.config.run_spec import GenerationSpec, RunSpec
from engine.export.export_job import ExportJob
from engine.export.go_template import GoTemplate, NoTemplate, derive
from engine.export.ollama import create_in_ollama, modelfile, template_of
from engine.prompting.prompt_format import PromptFormat, choose_template
from tests.helpers.go_template_renderer import ollama

FAMILIES = (
    "llama-3", "llama-3.1", "llama-3.2", "chatml", "qwen-2.5", "mistral", "gemma", "gemma2", "phi-3", "phi-4",
    "zephyr", "unsloth",
)  # fmt: skip
SYSTEM = {"role": "system", "content": "You are terse. 请用中文回答。"}
TALKS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "你是谁？"}],
    [SYSTEM, {"role": "user", "content": 'Say "hi" & {{ .System }}'}],
    [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "一。"},
        {"role": "user", "content": "Two\nlines"},
    ],
    [
        SYSTEM,
        {"role": "user", "content": "甲"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "乙"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "丙"},
    ],
]


@pytest.fixture(scope="module")
def tokenizer(demo: RunSpec) -> Any:
    return AutoTokenizer.from_pretrained(demo.model.model_name)


class LoadedStub:
    """The parts of a loaded model that a template needs."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer


@pytest.mark.parametrize("family", ["own", *FAMILIES])
def test_the_template_writes_what_the_tokenizer_writes(family: str, demo: RunSpec) -> None:
    own = AutoTokenizer.from_pretrained(demo.model.model_name)
    fitted = own if family == "own" else choose_template(own, family)
    template = template_of(LoadedStub(fitted), PromptFormat("messages"), adds_bos=True)  # type: ignore[arg-type]
    text = modelfile("x.gguf", template, ["</s>"], GenerationSpec(), 2048)
    go = text.partition('TEMPLATE """')[2].partition('"""')[0]
    assert go
    for talk in TALKS:
        try:
            wanted = PromptFormat("messages").prompt(fitted, talk)
        except Exception:
            assert talk[0]["role"] == "system", "only a system text may be refused"
            assert SYSTEM["content"] in ollama(go, talk)
            continue
        assert ollama(go, talk) == wanted.removeprefix(fitted.bos_token), (family, talk)


def test_alpaca_gets_its_prompt(tokenizer: Any) -> None:
    prompt = "Below is {{x}}.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{output}"
    prompt_format = PromptFormat("alpaca", prompt)
    go = template_of(LoadedStub(tokenizer), prompt_format, adds_bos=True).go()  # type: ignore[arg-type]
    for talk in TALKS:
        assert ollama(go, talk) == prompt_format.prompt(tokenizer, talk)


def test_a_template_that_looks_into_the_turns_is_not_mistaken_for_another() -> None:
    def shouting(messages: Any) -> str:
        return "".join(
            f"[{m['role']}]{m['content'].upper() if len(messages) > 3 else m['content']}" for m in messages
        )

    with pytest.raises(NoTemplate):
        derive(shouting)


def test_stops_and_settings_are_written(tmp_path: Path) -> None:
    template = GoTemplate("<s>", "", "", "unused", "[a]", "[q]", "[a]")
    text = modelfile("m.gguf", template, ["<|end|>"], GenerationSpec(temperature=0.7, top_k=40), 4096, ["n.gguf"])
    assert text.startswith("FROM ./m.gguf\n# or: FROM ./n.gguf\n")
    for line in ('PARAMETER stop "<|end|>"', "PARAMETER num_ctx 4096", "PARAMETER temperature 0.7",
                 "PARAMETER top_k 40"):  # fmt: skip
        assert line in text.splitlines()


# Ollama itself


@pytest.fixture
def work(tokenizer: Any) -> ExportJob:
    return ExportJob(LoadedStub(tokenizer), PromptFormat("messages"))  # type: ignore[arg-type]


def ollama_that(place: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Path:
    """A stand-in on the PATH; the file to which it appends its arguments, a line each."""
    said = place / "arguments"
    program = place / "bin" / "ollama"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\npwd >> {said}\nprintf "%s\\n" "$@" >> {said}\n{does}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return said


def test_ollama_is_handed_the_model_when_it_is_there(
    work: ExportJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    work.report = lambda step, *_: steps.append(step)
    said = ollama_that(tmp_path, monkeypatch, "exit 0")
    folder = tmp_path / "my model"
    folder.mkdir()
    note = create_in_ollama(work, folder, "loris")
    assert said.read_text().splitlines() == [str(folder), "create", "loris", "-f", str(folder / "Modelfile")]
    assert str(note) == "It is in Ollama: ollama run loris"
    assert steps == ["ollama"]


def test_the_exact_command_is_printed_when_ollama_is_missing_or_rejects_it(
    work: ExportJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    command = f"ollama create loris -f '{folder}/Modelfile'"
    said = ollama_that(tmp_path, monkeypatch, "echo 'Error: could not connect to a running instance'; exit 1")
    failed = str(create_in_ollama(work, folder, "loris"))
    assert "could not connect to a running instance" in failed
    assert failed.endswith(command)
    assert said.exists()
    said.unlink()
    assert str(create_in_ollama(work, folder, "")).endswith(command.replace(" loris ", " NAME "))
    assert not said.exists(), "without a name nothing is run"
    monkeypatch.setenv("PATH", "/nowhere")
    gone = str(create_in_ollama(work, folder, "loris"))
    assert "not on this machine" in gone
    assert gone.endswith(command)


def test_creating_it_in_ollama_is_cancelled(
    work: ExportJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ollama_that(tmp_path, monkeypatch, "exec sleep 120")
    work.cancelled = said.exists
    started = time.monotonic()
    assert "ollama create loris -f" in str(create_in_ollama(work, tmp_path, "loris"))
    assert time.monotonic() - started < 30
