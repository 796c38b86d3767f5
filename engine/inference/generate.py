"""Generates answers, with the adapter or from the base model, streamed in complete characters."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from engine.config.prompts import as_turn, label
from engine.config.run_spec import GenerationSpec
from engine.inference.base_model import base_model
from engine.inference.repetition import likely_cause
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model import hardware
from engine.model.inference_mode import inference_mode
from engine.model.loading import Loaded, stop_ids
from engine.prompting.prompt_format import Messages, PromptFormat, encode
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter

FinishReason = Literal["eos", "length", "cancelled"]
BATCH_SECONDS = 0.03  # a piece per token would slow a fast model, and nobody reads 30 pieces a second
INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for the first bytes of a character


@dataclass(frozen=True)
class GeneratedText:
    """A finished answer. `tokens`: generated, with the stop token. `seconds`: in total, with the prompt.

    `likely_cause`: why it did not end by itself, if so. `context_tokens`: those available to prompt and answer.
    """

    text: str
    tokens: int
    seconds: float
    finish_reason: FinishReason
    prompt_tokens: int = 0
    context_tokens: int = 0
    likely_cause: Message | None = None


class AnswerStreamer(BaseStreamer):
    """Turns tokens into text: the first piece at once, then small batches of complete characters."""

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:
        self._tokenizer, self._on_text = tokenizer, on_text
        self.ids: list[int] = []
        self.text = ""
        self._at_prompt, self._flushed = True, 0.0
        self._from = self._read = 0  # decode from the previous batch on, to keep the space between the two

    def put(self, value: torch.Tensor) -> None:
        """Add the next token; the first call passes the prompt, which is skipped."""
        if self._at_prompt:
            self._at_prompt = False
            return
        self.ids.extend(value.reshape(-1).tolist())
        if time.monotonic() - self._flushed >= BATCH_SECONDS:
            self._flush(last=False)

    def end(self) -> None:
        """Pass on the rest, without an incomplete character."""
        self._flush(last=True)

    def _decode(self, end: int | None = None) -> str:
        text: str = self._tokenizer.decode(
            self.ids[self._from : end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _flush(self, last: bool) -> None:
        before, after = self._decode(self._read), self._decode()
        if after.endswith(INCOMPLETE):
            if not last:
                return
            after = after.rstrip(INCOMPLETE)
        new = after[len(before) :]
        self._from, self._read = self._read, len(self.ids)
        if new:
            self.text += new
            self._on_text(new)
            self._flushed = time.monotonic()


class StopWhenCancelled(StoppingCriteria):
    """Ends generation when it is cancelled. Called after each token, so both results are made once."""

    def __init__(self, cancelled: Callable[[], bool], device: Any) -> None:
        self._cancelled = cancelled
        self._results = torch.tensor([[False], [True]], device=device)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return self._results[int(self._cancelled())]


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Sample with this seed, then restore all random generators: a chat must not change the training."""
    kind = hardware.torch_device()
    with torch.random.fork_rng(device_type="cuda" if kind == "cpu" else kind):
        torch.manual_seed(seed)
        yield


def sampling_arguments(spec: GenerationSpec) -> dict[str, Any]:
    """The sampling arguments of `model.generate`; what is switched off is None or left out."""
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
    on_text: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> GeneratedText:
    """Answer a conversation. `on_text`: called with each piece. Raises `UserError` if the prompt cannot be used."""
    started = time.monotonic()
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = encode(tokenizer, prompt_format.prompt(tokenizer, messages, spec.system_prompt))
    room = max_answer_tokens(model, len(ids))
    prompt = torch.tensor([ids], device=model.device)
    streamer = AnswerStreamer(tokenizer, on_text)
    stops = stop_ids(loaded)
    base = nullcontext() if adapter else base_model(loaded)
    with isolated_rng(spec.seed), inference_mode(model), base, torch.no_grad():
        model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=min(spec.max_new_tokens, room),
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList([StopWhenCancelled(cancelled, model.device)]),
            **sampling_arguments(spec),
        )
    reason: FinishReason = "length"
    if streamer.ids and streamer.ids[-1] in stops:
        reason = "eos"
    elif cancelled():
        reason = "cancelled"
    endless = None
    if reason != "eos":
        special = set(tokenizer.all_special_ids)
        endless = likely_cause(
            streamer.ids, streamer.text, marker=prompt_format.next_example, special=special, adapter=adapter
        )
    spent = time.monotonic() - started
    return GeneratedText(streamer.text, len(streamer.ids), spent, reason, len(ids), len(ids) + room, endless)


def max_answer_tokens(model: Any, prompt_tokens: int) -> int:
    """How many tokens are left for an answer in the model's context. Raises `UserError` if none."""
    limit = getattr(model.config, "max_position_embeddings", None)
    room = (limit if isinstance(limit, int) else 1 << 30) - prompt_tokens
    if room < 1:
        raise UserError(
            "prompt_too_long",
            say(
                "The conversation has {tokens} tokens; the model accepts {limit}.",
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
    """Answer the spec's test prompts: before training, after it, or at the checkpoint of `step`.

    `adapter`: whether this run trained it.
    """
    # An adapter on the model before training is the one that training continues from.
    with_adapter = adapter or loaded.has_adapter
    for prompt in spec.prompts:
        if cancelled():
            return
        question = [as_turn(prompt)]
        answer = generate(loaded, prompt_format, question, spec, adapter=with_adapter, cancelled=cancelled)
        record.emit(
            ev.Answered(
                prompt=label(prompt),
                answer=answer.text,
                adapter=adapter,
                tokens=answer.tokens,
                seconds=answer.seconds,
                finish_reason=answer.finish_reason,
                step=step,
            )
        )
