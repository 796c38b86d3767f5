"""Loads an export back and compares it with the model in memory, before it gets its final name."""

import json
import math
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from engine.config.prompts import as_turn
from engine.export.cancellation import ToolFailed, cancellable, run_tool
from engine.export.compare_weights import WeightsCompared, base_weights, compare_weights, compare_with_memory
from engine.export.export_job import ExportJob
from engine.export.gguf_header import NotGguf, read_header
from engine.export.merge import base_name, layers_of
from engine.export.subprocess_env import OFFLINE, ON_CPU
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model.loading import Loaded
from engine.model.logits import logits_of
from engine.model.reward_model import scores_of
from engine.prompting.prompt_format import encode
from engine.runs.disk_usage import size_of
from engine.runs.python_process import python

TEXTS = ("The quick brown fox jumps over the lazy dog, and", "北京是中国的首都，")
MAX_SHARE = 0.01  # by which merged weights may differ from the 16-bit base with the adapter applied
# Where those cannot be compared: the RMS difference from the logits in memory, as a share of their RMS around their
# own mean. The second is for a model that is quantised on one side only.
MAX_APART, FROM_4BIT = 0.1, 0.5
MERGED_INTO_4BIT = ("falcon_h1",)  # Unsloth merges these into the weights of the quantised model
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
    before = outputs_of(loaded, ids)
    active = loaded.model.active_adapter
    try:
        loaded.model.load_adapter(str(folder), _CHECK)
        loaded.model.set_adapter(_CHECK)
        after = outputs_of(loaded, ids)
    finally:
        with suppress(ValueError, KeyError):
            loaded.model.delete_adapter(_CHECK)
        loaded.model.set_adapter(active)
    if not all(torch.equal(one, other) for one, other in zip(before, after, strict=True)):
        raise verify_error(say("The saved adapter answers differently from the one in memory."))
    if loaded.scores:
        return say("Loaded back: its scores are equal to those of the model in memory.")
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


def check_model_weights(loaded: Loaded, folder: Path) -> Message:
    """How a saved whole model was checked. Raises `UserError` unless all its weights equal those in memory."""
    compared = compare_with_memory(loaded.model, folder)
    if compared.worst:
        raise verify_error(say("The saved model differs from the one in memory: {tensor}.", tensor=compared.where))
    return say("Read back: {tensors} tensors, all equal to those in memory.", tensors=compared.tensors)


def check_merged(work: ExportJob, folder: Path, kind: str, merged: Path | None = None) -> Message:
    """Check a merged model: its weights, if the base is on this machine, and its logits, loaded with transformers
    alone in its own process.

    `merged`: the 16-bit model that `folder` was quantised from, if it was. Raises `UserError`, `Cancelled`.
    """
    work.step("verifying")
    compared = check_merged_weights(work, merged or folder)
    four_bits = kind == "merged_4bit"
    if not four_bits and psutil.virtual_memory().available < size_of(folder) * ROOM:
        return describe_whole(compared) if work.loaded.whole and compared else _not_loaded_back(compared)
    ids = token_lists(work)
    job, out = folder / ".check.json", folder / ".check.safetensors"
    scores, device = work.loaded.scores, "cuda" if four_bits else "cpu"
    values = {"folder": str(folder), "ids": ids, "out": str(out), "device": device, "scores": scores}
    try:
        job.write_text(json.dumps(values), "utf-8")
        command = python("-m", "engine.export.load_back", str(job))
        run_tool(command, work.cancelled, environment=OFFLINE if four_bits else ON_CPU)
        found = load_file(out)
    finally:
        job.unlink(missing_ok=True)
        out.unlink(missing_ok=True)
    back = [found[str(number)] for number in range(len(ids))]
    if scores:
        back = [torch.cat(back)]
    apart = max(map(difference, outputs_of(work.loaded, ids), back))
    quantised = four_bits or work.loaded.load_in_4bit
    if not math.isfinite(apart) or (not compared and apart > (FROM_4BIT if quantised else MAX_APART)):
        raise verify_error(
            say(
                "The merged model's logits differ by {share}% from those of the model in memory.",
                share=round(100 * apart, 1),
            )
        )
    if work.loaded.whole and compared:
        return describe_whole(compared, round(100 * apart, 2), in_4_bits=four_bits)
    return describe_loaded_back(compared, round(100 * apart, 2), quantised=quantised, in_4_bits=four_bits)


def check_merged_weights(work: ExportJob, merged: Path) -> WeightsCompared | None:
    """Compare a merged model's weights with the 16-bit base and the adapter; None if that is not possible here.

    Raises `UserError` when they differ by more than `MAX_SHARE`, `Cancelled`.
    """
    model = work.loaded.model
    if work.loaded.whole:
        return check_rounded_weights(work, merged)
    base = base_weights(base_name(model))
    if base is None or model.config.model_type in MERGED_INTO_4BIT:
        return None
    with cancellable(work.cancelled):
        compared = compare_weights(model, merged, base)
    if compared and not compared.worst <= MAX_SHARE:
        raise verify_error(
            say(
                "The merged model is not the 16-bit base model with the adapter applied to it: {tensor} differs by "
                    "{share}%.",
                tensor=compared.where, share=round(100 * compared.worst, 1),
            )
        )  # fmt: skip
    return compared


def check_rounded_weights(work: ExportJob, folder: Path) -> WeightsCompared:
    """Compare a whole model in 16 bits with the one in memory. Raises as above."""
    with cancellable(work.cancelled):
        compared = compare_with_memory(work.loaded.model, folder)
    if not compared.worst <= MAX_SHARE:
        raise verify_error(say("The saved model differs from the one in memory: {tensor}.", tensor=compared.where))
    return compared


def _not_loaded_back(compared: WeightsCompared | None) -> Message:
    if compared is None:
        return say("Not loaded back: this machine has too little free memory for a second copy.")
    return say(
        "Compared weight by weight with the 16-bit base model and the adapter applied to it: {tensors} tensors, "
            "at most {share}% apart. Not loaded back: too little free memory for a second copy.",
        tensors=compared.tensors, share=round(100 * compared.worst, 2),
    )  # fmt: skip


def describe_whole(compared: WeightsCompared, apart: float | None = None, in_4_bits: bool = False) -> Message:
    """What was compared of a model whose weights were all trained. `apart`: None if it was not loaded back."""
    values = {"tensors": compared.tensors, "share": round(100 * compared.worst, 2)}
    if apart is None:
        return say(
            "Compared weight by weight with the model in memory: {tensors} tensors, at most {share}% apart. "
                "Not loaded back: too little free memory for a second copy.",
            **values,
        )  # fmt: skip
    if in_4_bits:
        return say(
            "Loaded back with plain transformers. Before it was rounded to 4 bits, it was compared weight by "
                "weight with the model in memory: {tensors} tensors, at most {share}% apart. The rounding by "
                "itself moves logits ({apart}% here), which is usual.",
            **values, apart=apart,
        )  # fmt: skip
    return say(
        "Loaded back with plain transformers, and compared weight by weight with the model in memory: {tensors} "
            "tensors, at most {share}% apart; logits within {apart}%.",
        **values, apart=apart,
    )  # fmt: skip


def describe_loaded_back(
    compared: WeightsCompared | None, apart: float, *, quantised: bool, in_4_bits: bool
) -> Message:
    """What was compared, and apart from it what quantisation alone changes. `apart`: of the logits, in percent."""
    if compared is None:
        if not quantised:
            return say(
                "Loaded back with plain transformers: logits within {share}% of the model in memory.", share=apart
            )
        return say(
            "Loaded back with plain transformers. The 16-bit base model is not on this machine, so it was compared "
                "with the model in memory only; rounding to 4 bits alone moves logits a little ({apart}% here).",
            apart=apart,
        )  # fmt: skip
    values = {"tensors": compared.tensors, "share": round(100 * compared.worst, 2), "apart": apart}
    if in_4_bits:
        return say(
            "Loaded back with plain transformers. Before it was rounded to 4 bits, it was compared weight by "
                "weight with the 16-bit base model and the adapter applied to it: {tensors} tensors, at most "
                "{share}% apart. The rounding by itself moves logits ({apart}% here), which is usual.",
            **values,
        )  # fmt: skip
    if quantised:
        return say(
            "Loaded back with plain transformers, and compared weight by weight with the 16-bit base model and "
                "the adapter applied to it: {tensors} tensors, at most {share}% apart. The model in memory is "
                "rounded to 4 bits, which by itself moves its logits ({apart}% here): that is usual, and no fault "
                "of the merge.",
            **values,
        )  # fmt: skip
    return say(
        "Loaded back with plain transformers, and compared weight by weight with the 16-bit base model and the "
            "adapter applied to it: {tensors} tensors, at most {share}% apart; logits within {apart}% of the "
            "model in memory.",
        **values,
    )  # fmt: skip


def outputs_of(loaded: Loaded, ids: list[list[int]]) -> list[torch.Tensor]:
    """What a model makes of lists of tokens: the logits of each, or all scores of a reward model in one tensor."""
    if loaded.scores:
        return [torch.tensor(scores_of(loaded.model, ids))]
    return logits_of(loaded.model, ids)


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
