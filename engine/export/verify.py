"""Loads an export back and compares it with the model in memory, before it gets its final name."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from engine.config.prompts import as_turn
from engine.export.cancellation import ToolFailed, run_tool
from engine.export.export_job import ExportJob
from engine.export.gguf_header import NotGguf, read_header
from engine.export.merge import layers_of
from engine.export.subprocess_env import OFFLINE, ON_CPU
from engine.inference.generate import inference_mode
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model.loading import Loaded
from engine.prompting.prompt_format import encode
from engine.runs.disk_usage import size_of
from engine.runs.python_process import python

TEXTS = ("The quick brown fox jumps over the lazy dog, and", "北京是中国的首都，")
# Allowed RMS difference from the logits in memory, as a share of their RMS around their own mean.
MAX_DIFFERENCE = {"merged_16bit": 0.1, "merged_4bit": 0.5}
FROM_4BIT = 0.5  # the model in memory is quantised, and the export was merged into the 16-bit base
ROOM = 1.3  # times the weights: the memory that loading back takes
GGUF_SECONDS = 600.0
GGUF_TOKENS = 16
_CHECK = "loris_check"


def verify_error(why: Message) -> UserError:
    return UserError("verify_failed", why, say("Nothing of it was kept. The end of engine.log has the details."))


def check_adapter(work: ExportJob, folder: Path) -> Message:
    """Check that the adapter's weights equal those in memory, bit for bit, and its logits too once loaded back."""
    work.step("verifying")
    loaded = work.loaded
    check_adapter_weights(loaded, folder)
    ids = token_lists(work)
    before = logits(loaded, ids)
    active = loaded.model.active_adapter
    try:
        loaded.model.load_adapter(str(folder), _CHECK)
        loaded.model.set_adapter(_CHECK)
        after = logits(loaded, ids)
    finally:
        with suppress(ValueError, KeyError):
            loaded.model.delete_adapter(_CHECK)
        loaded.model.set_adapter(active)
    if not all(torch.equal(one, other) for one, other in zip(before, after, strict=True)):
        raise verify_error(say("The saved adapter answers differently from the one in memory."))
    return say("Loaded back: its logits are equal to those of the model in memory.")


def check_adapter_weights(loaded: Loaded, folder: Path) -> None:
    """Raises `UserError` unless every weight in the folder equals the one in memory."""
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        return  # saved in another form, by the user's own setting
    saved = load_file(path)
    mine = {name: w.detach().cpu() for name, w in get_peft_model_state_dict(loaded.model).items()}
    same = saved.keys() == mine.keys() and all(
        torch.equal(saved[name], w.to(saved[name].dtype)) for name, w in mine.items()
    )
    if not same:
        raise verify_error(say("The saved adapter differs from the one in memory."))


def check_merged(work: ExportJob, folder: Path, kind: str) -> Message:
    """Check that a merged model, loaded with transformers alone in its own process, gives about the same logits."""
    work.step("verifying")
    four_bits = kind == "merged_4bit"
    if not four_bits and psutil.virtual_memory().available < size_of(folder) * ROOM:
        return say("Not loaded back: this machine has too little free memory for a second copy.")
    ids = token_lists(work)
    job, out = folder / ".check.json", folder / ".check.safetensors"
    values = {"folder": str(folder), "ids": ids, "out": str(out), "device": "cuda" if four_bits else "cpu"}
    try:
        job.write_text(json.dumps(values), "utf-8")
        command = python("-m", "engine.export.load_back", str(job))
        run_tool(command, work.cancelled, environment=OFFLINE if four_bits else ON_CPU)
        found = load_file(out)
    finally:
        job.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
    limit = max(MAX_DIFFERENCE[kind], FROM_4BIT if work.loaded.load_in_4bit else 0.0)
    worst = max(difference(mine, found[str(number)]) for number, mine in enumerate(logits(work.loaded, ids)))
    if not worst < limit:
        raise verify_error(
            say(
                "The merged model's logits differ by {share}% from those of the model in memory.",
                share=round(100 * worst, 1),
            )
        )
    return say(
        "Loaded back with plain transformers: logits within {share}% of the model in memory.",
        share=round(100 * worst, 2),
    )


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The RMS of the difference, as a share of the RMS of the first around its mean. Shapes: (tokens, words)."""
    words = min(one.shape[-1], other.shape[-1])  # an embedding may be padded
    one, other = one[..., :words], other[..., :words]
    spread = (one - one.mean(-1, keepdim=True)).pow(2).mean().sqrt()
    return float((one - other).pow(2).mean().sqrt() / spread)


def check_gguf(work: ExportJob, merged: Path, files: dict[str, Path]) -> Message:
    """Check that the headers have all layers and the chat template, and that llama.cpp answers, if installed."""
    template = getattr(work.loaded.tokenizer, "chat_template", None)
    layers, counts = layers_of(merged), set()
    for name, path in files.items():
        work.step("verifying", what=name)
        try:
            header = read_header(path)
        except (NotGguf, OSError) as error:
            raise verify_error(say("A GGUF file is broken: {reason}.", reason=str(error))) from error
        counts.add(len(header.tensors))
        lacking = [n for n in range(layers) if not any(t.startswith(f"blk.{n}.") for t in header.tensors)]
        if lacking or "token_embd.weight" not in header.tensors:
            raise verify_error(say("{file} lacks layers of the model.", file=path.name))
        if isinstance(template, str) and header.chat_template.strip() != template.strip():
            raise verify_error(say("{file} does not have the chat template used in training.", file=path.name))
    if len(counts) > 1:
        raise verify_error(say("The GGUF files have different numbers of tensors."))
    answers = {name: _gguf_answer(work, name, path) for name, path in files.items()}
    if any(answer is None for answer in answers.values()):
        return say(
            "{tensors} tensors, all {layers} layers and the chat template are there. "
                "Not run: xllamacpp is not installed.",
            tensors=counts.pop(), layers=layers,
        )  # fmt: skip
    return say(
        "{tensors} tensors, all {layers} layers and the chat template are there, "
            "and llama.cpp answers: {answer}",
        tensors=counts.pop(), layers=layers, answer=next(iter(answers.values())),
    )  # fmt: skip


def _gguf_answer(work: ExportJob, name: str, path: Path) -> str | None:
    """llama.cpp's answer to a prompt; None when not installed. Raises `UserError` when it is empty."""
    if find_spec("xllamacpp") is None:
        return None
    question = (work.prompts or ("Who are you?",))[0]
    prompt = work.prompt_format.prompt(work.loaded.tokenizer, [as_turn(question)])
    bos = work.loaded.tokenizer.bos_token
    if bos and read_header(path).fields.get("tokenizer.ggml.add_bos_token", True):
        prompt = prompt.removeprefix(bos)  # llama.cpp adds it itself
    out = path.with_suffix(".answer")
    command = python("-m", "engine.export.gguf_answer", str(path), str(out), str(GGUF_TOKENS), prompt)
    try:
        run_tool(command, work.cancelled, environment=ON_CPU, seconds=GGUF_SECONDS)
        text = str(json.loads(out.read_text("utf-8"))["text"])
    except ToolFailed as error:
        raise verify_error(
            say(
                "llama.cpp cannot load {file}: {reason}",
                file=path.name,
                reason=(error.tail or [str(error)])[-1],
            )
        ) from error
    finally:
        out.unlink(missing_ok=True)
    if not text.strip():
        raise verify_error(say("llama.cpp answers nothing with {file}.", file=path.name))
    return text.strip()


def token_lists(work: ExportJob) -> list[list[int]]:
    """Texts to compare logits on: the run's test prompts in its prompt format, and two more."""
    tokenizer = work.loaded.tokenizer
    asked = [work.prompt_format.prompt(tokenizer, [as_turn(prompt)]) for prompt in work.prompts[:2]]
    return [encode(tokenizer, text)[-256:] for text in (*asked, *TEXTS)]


def logits(loaded: Loaded, ids: list[list[int]]) -> list[torch.Tensor]:
    """The logits after every token of each list, in 32 bits on the CPU. Shapes: (tokens, vocabulary)."""
    model = loaded.model
    found = []
    with _returns_logits(), inference_mode(model), torch.no_grad():
        for one in ids:
            made: Any = model(input_ids=torch.tensor([one], device=model.device), use_cache=False)
            found.append(made.logits[0].float().cpu())
    return found


@contextmanager
def _returns_logits() -> Iterator[None]:
    """Unsloth leaves out the logits to save memory, unless this variable is set."""
    before = os.environ.get("UNSLOTH_RETURN_LOGITS")
    os.environ["UNSLOTH_RETURN_LOGITS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["UNSLOTH_RETURN_LOGITS"]
        else:
            os.environ["UNSLOTH_RETURN_LOGITS"] = before
