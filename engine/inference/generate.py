"""Answers: with the adapter or from the untouched base, streamed in whole characters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer
from unsloth import FastLanguageModel

from engine.config.run_spec import GenerationSpec
from engine.inference.base_model import base_model
from engine.inference.repetition import cause
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model import hardware
from engine.model.loading import Loaded, stop_ids
from engine.prompting.prompt_format import Messages, PromptFormat, encode
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter

FinishReason = Literal["eos", "length", "cancelled"]
BATCH_SECONDS = 0.03  # a piece a token would cost a fast model dearly, and nobody reads 30 pieces a second
HALF = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for the first bytes of a character


@dataclass(frozen=True)
class GeneratedText:
    """A finished answer. `tokens` counts those made, the one that stops included; `seconds` all of it.

    `runaway`: why it likely did not end by itself. `prompt_tokens`, `context_tokens`: used, of those there are.
    """

    text: str
    tokens: int
    seconds: float
    finish_reason: FinishReason
    prompt_tokens: int = 0
    context_tokens: int = 0
    runaway: Message | None = None


class Pieces(BaseStreamer):
    """Takes tokens one by one and passes text on: the first at once, then in small batches of whole characters."""

    def __init__(self, tokenizer: Any, take: Callable[[str], None]) -> None:
        self._tokenizer, self._take = tokenizer, take
        self.ids: list[int] = []
        self.text = ""
        self._prompt, self._passed = True, 0.0
        self._from = self._read = 0  # decode from one token back of what was read, for the space between

    def put(self, value: torch.Tensor) -> None:
        """Take the next token; the first call brings the prompt, which is left out."""
        if self._prompt:
            self._prompt = False
            return
        self.ids.extend(value.reshape(-1).tolist())
        if time.monotonic() - self._passed >= BATCH_SECONDS:
            self._pass_on(last=False)

    def end(self) -> None:
        """Pass on what is left, without half a character."""
        self._pass_on(last=True)

    def _decode(self, end: int | None = None) -> str:
        text: str = self._tokenizer.decode(
            self.ids[self._from : end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _pass_on(self, last: bool) -> None:
        before, after = self._decode(self._read), self._decode()
        if after.endswith(HALF):
            if not last:
                return
            after = after.rstrip(HALF)
        new = after[len(before) :]
        self._from, self._read = self._read, len(self.ids)
        if new:
            self.text += new
            self._take(new)
            self._passed = time.monotonic()


class StopWhenCancelled(StoppingCriteria):
    """Ends generation when asked to. The two answers are made once: it is asked after each token."""

    def __init__(self, asked: Callable[[], bool], device: Any) -> None:
        self._asked = asked
        self._answers = torch.tensor([[False], [True]], device=device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return self._answers[int(self._asked())]


@contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """Draw from a seed of its own, and leave every generator as it was: training must not notice a chat."""
    kind = hardware.torch_device()
    with torch.random.fork_rng(device_type="cuda" if kind == "cpu" else kind):
        torch.manual_seed(seed)
        yield


@contextmanager
def inference(model: Any) -> Iterator[None]:
    """Unsloth's inference mode, and back to what the model was in."""
    training = model.training
    FastLanguageModel.for_inference(model)
    try:
        yield
    finally:
        if training:
            FastLanguageModel.for_training(model)


def sampling(spec: GenerationSpec) -> dict[str, Any]:
    """The spec as `generate` takes it; what is switched off is left out."""
    chosen: dict[str, Any] = {"do_sample": spec.temperature > 0}
    if spec.temperature > 0:
        chosen |= {
            "temperature": spec.temperature,
            "min_p": spec.min_p or None,
            "top_p": spec.top_p,
            "top_k": spec.top_k,
        }
    else:
        chosen |= {"temperature": None, "top_p": None, "top_k": None, "min_p": None}
    if spec.repetition_penalty != 1:
        chosen["repetition_penalty"] = spec.repetition_penalty
    return chosen


def generate(
    loaded: Loaded,
    prompt_format: PromptFormat,
    messages: Messages,
    spec: GenerationSpec,
    *,
    adapter: bool,
    take: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> GeneratedText:
    """Answer a conversation. `take` gets each piece of text. Raises `UserError` for a prompt that cannot be."""
    started = time.monotonic()
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = encode(tokenizer, prompt_format.prompt(tokenizer, messages, spec.system_prompt))
    room = room_for_answer(model, len(ids))
    prompt = torch.tensor([ids], device=model.device)
    pieces = Pieces(tokenizer, take)
    stops = stop_ids(loaded)
    base = nullcontext() if adapter else base_model(loaded)
    with undisturbed(spec.seed), inference(model), base, torch.no_grad():
        model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=min(spec.max_new_tokens, room),
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
            streamer=pieces,
            stopping_criteria=StoppingCriteriaList([StopWhenCancelled(cancelled, model.device)]),
            **sampling(spec),
        )
    reason: FinishReason = "length"
    if pieces.ids and pieces.ids[-1] in stops:
        reason = "eos"
    elif cancelled():
        reason = "cancelled"
    endless = None
    if reason != "eos":
        special = set(tokenizer.all_special_ids)
        endless = cause(
            pieces.ids, pieces.text, marker=prompt_format.next_example, special=special, adapter=adapter
        )
    spent = time.monotonic() - started
    return GeneratedText(pieces.text, len(pieces.ids), spent, reason, len(ids), len(ids) + room, endless)


def room_for_answer(model: Any, prompt_tokens: int) -> int:
    """How many tokens an answer may have before the model's positions end. Raises `UserError` if none."""
    limit = getattr(model.config, "max_position_embeddings", None)
    room = (limit if isinstance(limit, int) else 1 << 30) - prompt_tokens
    if room < 1:
        raise UserError(
            "prompt_too_long",
            say(
                "The conversation has {tokens} tokens, and the model takes {limit}.",
                tokens=prompt_tokens, limit=limit,
            ),
            say("Start a new conversation."),
        )  # fmt: skip
    return room


def answer_prompts(
    loaded: Loaded,
    prompt_format: PromptFormat,
    spec: GenerationSpec,
    record: EventWriter,
    *,
    adapter: bool,
    cancelled: Callable[[], bool],
    step: int | None = None,
) -> None:
    """Ask the spec's test prompts, for the comparison before and after training, and at a checkpoint's step."""
    for prompt in spec.prompts:
        if cancelled():
            return
        question = [{"role": "user", "content": prompt}]
        answer = generate(loaded, prompt_format, question, spec, adapter=adapter, cancelled=cancelled)
        record.emit(
            ev.Answered(
                prompt=prompt,
                answer=answer.text,
                adapter=adapter,
                tokens=answer.tokens,
                seconds=answer.seconds,
                finish_reason=answer.finish_reason,
                step=step,
            )
        )
