"""Drafts the model card of a run. Uses no network.

Drafting imports `huggingface_hub`, which takes 0.3 s the first time: not at the terminal's start.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config.local_paths import is_local
from engine.config.methods import METHODS, metric_title
from engine.config.prompt_templates import before_answer, fill
from engine.config.prompts import as_turn, fill_question, join_input
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.dataset.mapping import question_placeholder
from engine.messages.message import N_, say, untranslated
from engine.protocol.state import RunState, read_state
from engine.runs.folder import RunFolder

Translate = Callable[[str], str]
SETTING, VALUE, HOW_TO_RUN = N_("Setting"), N_("Value"), N_("How to run it")
_RELATION = {"adapter": "adapter", "gguf": "quantized"}


def draft_card(
    folder: RunFolder,
    kind: str,
    repo_id: str,
    license: str = "",
    translate: Translate = untranslated,
) -> str:
    """The text of README.md for an export of a run.

    `repo_id` without an owner is written as {owner}/name, which a push fills in. `license`: the base model's;
    if empty, it is read from the card of a local base model, or left out. `translate`: a gettext function for
    the language of the text.
    """
    from huggingface_hub import ModelCard

    try:
        spec = load_spec(folder.spec)
    except (SpecError, OSError):
        spec = RunSpec()
    state = read_state(folder.events)
    kind = "gguf" if kind.startswith("gguf") else kind
    license = license or local_license(spec.model.model_name)
    repo_id = repo_id if "/" in repo_id else f"{{owner}}/{repo_id}"
    body = _body(spec, state, kind, repo_id, license, translate)
    return str(ModelCard(f"---\n{_metadata(spec, kind, license)}\n---\n\n{body}"))


def local_license(model_name: str) -> str:
    """The license that the card of a model folder on this machine names, or ""."""
    if not is_local(model_name):
        return ""
    from huggingface_hub.repocard import metadata_load

    try:
        found = (metadata_load(Path(model_name).expanduser() / "README.md") or {}).get("license")
    except Exception:  # no card, or one that cannot be parsed
        return ""
    return found if isinstance(found, str) else ""


def public_name(name: str) -> str:
    """A model or dataset name to publish: only the last part of a local path."""
    return os.path.basename(name.rstrip("/")) if is_local(name) else name


def _metadata(spec: RunSpec, kind: str, license: str) -> str:
    """The metadata that the Hub reads."""
    from huggingface_hub import ModelCardData

    values: dict[str, Any] = {}
    if license:
        values["license"] = license
    if not is_local(spec.model.model_name):
        values["base_model"] = spec.model.model_name
        values["base_model_relation"] = _RELATION.get(kind, "finetune")
    values["library_name"] = {"adapter": "peft", "gguf": "gguf"}.get(kind, "transformers")
    values["pipeline_tag"] = "text-classification" if spec.scores else "text-generation"
    if not is_local(spec.dataset.path):
        values["datasets"] = [spec.dataset.path]
    how = "full-finetuning" if spec.model.full_finetuning else "lora"
    values["tags"] = (
        [how, "reward-model", "loris"] if spec.scores else ["unsloth", how, spec.training.method, "loris"]
    )
    return ModelCardData(**values).to_yaml(original_order=list(values))


def _body(spec: RunSpec, state: RunState, kind: str, repo_id: str, license: str, translate: Translate) -> str:
    def text(template: str, **values: str | int | float) -> str:
        return say(template, **values).render(translate)

    what = {
        "adapter": N_("A LoRA adapter for {base}, trained with Unsloth through Loris."),
        "gguf": N_("{base}, fine-tuned with Unsloth through Loris, as GGUF for llama.cpp and Ollama."),
    }.get(kind, N_("{base}, fine-tuned with Unsloth through Loris."))
    if spec.scores:
        what = N_("A reward model on {base}, trained with TRL through Loris: it scores answers.")
    base, data = public_name(spec.model.model_name), public_name(spec.dataset.path)
    parts = [f"# {repo_id.rpartition('/')[2]}", text(what, base=base)]
    if spec.description:
        parts.append(spec.description)
    facts = [
        (N_("Base model"), base),
        (N_("Method"), translate(METHODS[spec.training.method].title)),
        (N_("Dataset"), f"{data} ({spec.dataset.split})"),
    ]
    if state.dataset:
        facts.append((N_("Examples"), f"{state.dataset.rows}"))
    if state.finished:
        facts.append((N_("Steps"), f"{state.finished.steps}"))
        if state.finished.train_loss is not None:
            facts.append((N_("Training loss"), f"{state.finished.train_loss:.4f}"))
    if len(state.loss):
        facts.append((N_("Last loss"), f"{state.loss.values[-1]:.4f}"))
    if len(state.eval_loss):
        facts.append((N_("Loss on held-out examples"), f"{state.eval_loss.values[-1]:.4f}"))
    facts += [(metric_title(key).render(translate), f"{value:.4f}") for key, value in state.metrics.items()]
    if spec.model.full_finetuning:
        facts.append((N_("Trained"), translate(N_("all weights"))))
    else:
        facts += [(N_("Rank"), f"{spec.lora.r}"), (N_("Alpha"), f"{spec.lora.lora_alpha}")]
    facts += [
        (N_("Learning rate"), f"{spec.training.learning_rate:g}"),
        (N_("Effective batch"),
         f"{spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps}"),
        (N_("Context length"), f"{spec.model.max_seq_length}"),
        (N_("License"), license or translate(N_("unknown: see the base model's"))),
    ]  # fmt: skip
    table = [f"| {text(SETTING)} | {text(VALUE)} |", "|---|---|"]
    parts.append("\n".join(table + [f"| {text(name)} | {_cell(value)} |" for name, value in facts]))
    parts.append(f"## {text(HOW_TO_RUN)}")
    trained_on = state.dataset.format if state.dataset else ""
    parts.append(_usage(spec, trained_on, kind, repo_id))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _usage(spec: RunSpec, trained_on: str, kind: str, repo_id: str) -> str:
    """Code to run the model, the same in every language. `trained_on`: the prompt format of the training."""
    if kind == "gguf":
        return f"```sh\nllama-cli -hf {repo_id}\nollama run hf.co/{repo_id}\n```"
    task = "SequenceClassification" if spec.scores else "CausalLM"
    labels = ", num_labels=1" if spec.scores else ""
    if kind == "adapter":
        lines = [f"from peft import AutoPeftModelFor{task}", "from transformers import AutoTokenizer", "",
                 f'model = AutoPeftModelFor{task}.from_pretrained("{repo_id}", device_map="auto"{labels})'
                 ]  # fmt: skip
    else:
        lines = [f"from transformers import AutoModelFor{task}, AutoTokenizer", "",
                 f'model = AutoModelFor{task}.from_pretrained("{repo_id}", device_map="auto")']  # fmt: skip
    lines += [f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")', *_input_lines(spec, trained_on)]
    if spec.scores:
        lines.append("print(model(**inputs.to(model.device)).logits[0, 0].item())")
    else:
        lines += [
            "output = model.generate(**inputs.to(model.device), max_new_tokens=128)",
            "print(tokenizer.decode(output[0], skip_special_tokens=True))",
        ]
    return "\n".join(["```python", *lines, "```"])


def _input_lines(spec: RunSpec, trained_on: str) -> list[str]:
    """The lines that define `inputs` for a question, in the prompt format of the training.

    A reward model also needs the answer that it scores.
    """
    answer = "I am Loris." if spec.scores else ""
    asked = as_turn((spec.generation.prompts or ("Who are you?",))[0])
    question, extra = asked["content"], asked.get("input", "")
    if trained_on not in ("alpaca", "plain"):
        turns = [{"role": "user", "content": join_input(question, extra)}]
        turns += [{"role": "assistant", "content": answer}] * bool(answer)
        prompted = "" if answer else "add_generation_prompt=True, "
        return [
            f"messages = {json.dumps(turns, ensure_ascii=False)}",
            f'inputs = tokenizer.apply_chat_template(messages, {prompted}return_tensors="pt", return_dict=True)',
        ]
    text = join_input(question, extra)
    if trained_on == "alpaca":
        place, instruction = question_placeholder(spec.dataset)
        template = before_answer(spec.dataset.prompt_template)
        values = fill_question(template, question, extra, placeholder=place, instruction=instruction)
        text = fill(template, **values) + answer
    plain = '"""' not in text and "\\" not in text and "```" not in text and not text.endswith('"')
    quoted = f'"""{text}"""' if plain and "\n" in text else json.dumps(text, ensure_ascii=False)
    end = " + tokenizer.eos_token" if answer else ""
    return [f"prompt = {quoted}", f'inputs = tokenizer(prompt{end}, return_tensors="pt")']
