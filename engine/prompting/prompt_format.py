"""How questions and answers are written as text: one place for training and for chat, so that they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unsloth.chat_templates import CHAT_TEMPLATES, get_chat_template

from engine.config import prompt_templates
from engine.config.run_spec import DatasetSpec
from engine.dataset.mapping import Example, question_of
from engine.dataset.turns import as_string
from engine.messages.errors import UserError, last_line
from engine.messages.message import say

Format = Literal["alpaca", "messages", "plain"]
Messages = Sequence[Mapping[str, Any]]

_QUESTION, _ANSWER = "LorisProbeQuestion", "LorisProbeAnswer"


@dataclass(frozen=True)
class PromptFormat:
    """alpaca: the prompt text `template`; messages: the tokenizer's chat template; plain: nothing around it.

    `question`: the placeholder of the prompt text that takes what a user asks. `instruction`: the text that
    every row has there, where that is the input.
    """

    format: Format
    template: str = ""
    question: Literal["instruction", "input"] = "instruction"
    instruction: str = ""

    @property
    def next_turn(self) -> str:
        """What begins another example in the prompt text; empty where special tokens do that."""
        lines = self.template.strip().splitlines() if self.format == "alpaca" else []
        return next((line for line in lines if line.startswith("###")), lines[0] if lines else "")

    def training_text(self, tokenizer: Any, row: Example | Mapping[str, str] | Messages) -> str:
        """A whole example, ending as an answer of the model must end."""
        if isinstance(row, Example):
            if self.format == "plain":
                return row.text.removesuffix(str(tokenizer.eos_token)) + str(tokenizer.eos_token)
            if self.format == "messages":
                return render(tokenizer, row.as_chat(), tools=row.tools)
            row = row.pair
        if isinstance(row, Mapping):
            return prompt_templates.fill(self.template, **row) + str(tokenizer.eos_token)
        return render(tokenizer, row)

    def prompt(self, tokenizer: Any, messages: Messages, system: str = "") -> str:
        """What the model is given to answer a conversation. Alpaca and plain models see its last turn."""
        if self.format == "messages":
            if system and messages[0]["role"] != "system":
                messages = [{"role": "system", "content": system}, *messages]
            return render(tokenizer, messages, add_generation_prompt=True)
        last = messages[-1]["content"] if messages else ""
        if self.format == "alpaca":
            asked = {"instruction": self.instruction, self.question: last}
            return prompt_templates.fill(prompt_templates.before_answer(self.template), **asked)
        return f"{system}\n\n{last}" if system else last


def prompt_format_for(spec: DatasetSpec, kind: Format) -> PromptFormat:
    """The style in which data of this kind is learned under the spec."""
    return (
        PromptFormat("alpaca", spec.prompt_template, *question_of(spec)) if kind == "alpaca" else PromptFormat(kind)
    )


def choose_template(tokenizer: Any, name: str) -> Any:
    """The tokenizer with the chat template of this name; "auto" keeps its own. Raises `UserError`."""
    if name != "auto":
        if name not in CHAT_TEMPLATES:
            raise UserError(
                "template_unknown",
                say('There is no chat template named "{name}".', name=name),
                say("Take one of these: {names}.", names=", ".join(CHAT_TEMPLATES)),
                "dataset.chat_template",
            )
        try:
            return get_chat_template(tokenizer, chat_template=name)
        except Exception as error:  # above all a token that the tokenizer lacks
            raise UserError(
                "template_unfit",
                say(
                    'The chat template "{name}" does not fit this model: {reason}',
                    name=name,
                    reason=last_line(error),
                ),
                say("Take auto for the model's own template, or chatml, which fits every model."),
                "dataset.chat_template",
            ) from error
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "no_chat_template",
            say("This model comes without a chat template, so turns cannot be written as text."),
            say("Choose a chat template by name, for instance chatml, or take an instruct model."),
            "dataset.chat_template",
        )
    return tokenizer


def render(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = False, tools: list[Any] | None = None
) -> str:
    """A conversation as the chat template writes it. Raises `UserError` when the template refuses it."""
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **({"tools": tools} if tools else {}),
        )
        return text
    except Exception as error:  # templates raise what they like
        raise UserError(
            "template_refused",
            say("The chat template refuses a conversation: {reason}", reason=last_line(error)),
            say("Most templates want user and assistant in turns, and some take no system text."),
            "dataset.chat_template",
        ) from error


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts the beginning-of-sequence token before a text."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a")["input_ids"][:1] == [bos]


def encode(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text, with a single beginning-of-sequence token if the tokenizer uses one."""
    written = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    ids: list[int] = tokenizer(text, add_special_tokens=not written)["input_ids"]
    return ids


def after_answer(tokenizer: Any) -> str:
    """What the chat template writes after the last answer."""
    text = render(tokenizer, [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}])
    return text.rpartition(_ANSWER)[2]


def check_ending(tokenizer: Any, stop_ids: list[int]) -> None:
    """Raises `UserError` when the chat template does not end an answer with a token that stops the model."""
    tail = after_answer(tokenizer)
    if not set(tokenizer(tail, add_special_tokens=False)["input_ids"]) & set(stop_ids):
        raise eos_missing(tokenizer, "dataset.chat_template")


def eos_missing(tokenizer: Any, field: str) -> UserError:
    """The model would not learn to end its answers."""
    return UserError(
        "eos_missing",
        say(
            "No example ends with the token that stops the model, {eos}: its answers would never stop.",
            eos=as_string(tokenizer.eos_token),
        ),
        say("Choose another chat template, for instance chatml, or correct the tokenizer of the model."),
        field,
    )
