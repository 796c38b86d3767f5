"""Formats questions and answers as text, for training and inference alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unsloth.chat_templates import CHAT_TEMPLATES, get_chat_template

from engine.config import prompt_templates
from engine.config.local_paths import is_template_file
from engine.config.prompts import fill_question, join_input
from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Example, question_placeholder
from engine.dataset.template_file import read_template
from engine.dataset.turns import as_string
from engine.messages.errors import UserError, last_line
from engine.messages.message import say
from engine.prompting.parts_as_text import Feature, unwritten_features, write_as_text

Messages = Sequence[Mapping[str, Any]]

_QUESTION, _ANSWER = "LorisProbeQuestion", "LorisProbeAnswer"


@dataclass(frozen=True)
class PromptFormat:
    """alpaca: the prompt text `template`; messages: the tokenizer's chat template; plain: the bare text.

    `question`: the placeholder of the prompt text for the user's question. `instruction`: the constant
    instruction of every row, if the question is the input. `as_text`: what the chat template has no place for, and
    is written as plain text.
    """

    format: PromptFormatName
    template: str = ""
    question: Literal["instruction", "input"] = "instruction"
    instruction: str = ""
    as_text: tuple[Feature, ...] = ()

    @property
    def next_example(self) -> str:
        """The text that starts another example in the prompt text; empty for other formats."""
        lines = self.template.strip().splitlines() if self.format == "alpaca" else []
        return next((line for line in lines if line.startswith("###")), lines[0] if lines else "")

    def training_text(self, tokenizer: Any, row: Example | Mapping[str, str] | Messages) -> str:
        """A complete training example, with the end token."""
        if isinstance(row, Example):
            if self.format == "plain":
                return row.text.removesuffix(str(tokenizer.eos_token)) + str(tokenizer.eos_token)
            if self.format == "messages":
                turns, tools = write_as_text(row.as_chat(), row.tools, self.as_text)
                return render(tokenizer, turns, tools=tools)
            row = row.pair
        if isinstance(row, Mapping):
            return prompt_templates.fill(self.template, **row) + str(tokenizer.eos_token)
        return render(tokenizer, row)

    def question_text(self, tokenizer: Any, example: Example) -> str:
        """The text of an example up to its last answer: what the model is asked."""
        if self.format == "messages":
            turns, tools = write_as_text(example.as_chat()[:-1], example.tools, self.as_text)
            return render(tokenizer, turns, add_generation_prompt=True, tools=tools)
        before = prompt_templates.before_answer(self.template) if self.format == "alpaca" else ""
        return prompt_templates.fill(before, **{**example.pair, "output": ""})

    def prompt(self, tokenizer: Any, messages: Messages, system: str = "") -> str:
        """The prompt to answer a conversation. The formats alpaca and plain use only its last turn."""
        last = messages[-1] if messages else {"content": ""}
        if self.format == "messages":
            messages = [_without_input(turn) for turn in messages]
            if system and messages[0]["role"] != "system":
                messages = [{"role": "system", "content": system}, *messages]
            turns, _ = write_as_text(messages, None, self.as_text)
            return render(tokenizer, turns, add_generation_prompt=True)
        if self.format == "alpaca":
            return prompt_templates.fill(prompt_templates.before_answer(self.template), **self._asked(last, system))
        return join_input(system, _without_input(last)["content"])

    def answered_text(self, tokenizer: Any, prompt: str, answer: str, system: str = "") -> str:
        """A question with an answer to it, as a row of the training data has it. Raises `UserError`."""
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        if self.format == "alpaca":
            return self.training_text(tokenizer, {**self._asked(turns[0], system), "output": answer})
        return self.training_text(tokenizer, [{"role": "system", "content": system}] * bool(system) + turns)

    def _asked(self, turn: Mapping[str, Any], system: str) -> dict[str, str]:
        """What fills the prompt text for a question."""
        asked = fill_question(
            self.template, turn["content"], turn.get("input", ""),
            placeholder=self.question, instruction=self.instruction,
        )  # fmt: skip
        return {**asked, "system": system}


def _without_input(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn whose input, if it has one, follows the question."""
    made = dict(turn)
    if extra := made.pop("input", ""):
        made["content"] = join_input(made["content"], extra)
    return made


def prompt_format_for(spec: DatasetSpec, kind: PromptFormatName, tokenizer: Any = None) -> PromptFormat:
    """The prompt format with the settings of the spec. `tokenizer`: with its chat template, used for "messages"."""
    if kind == "alpaca":
        return PromptFormat(kind, spec.prompt_template, *question_placeholder(spec))
    if kind == "messages" and spec.missing_parts == "text":
        return PromptFormat(kind, as_text=unwritten_features(tokenizer))
    return PromptFormat(kind)


def choose_template(tokenizer: Any, name: str) -> Any:
    """The tokenizer with the chat template of this name or file; "auto" keeps its own. Raises `UserError`."""
    if is_template_file(name):
        tokenizer.chat_template = read_template(name)
    elif name != "auto":
        if name not in CHAT_TEMPLATES:
            raise UserError(
                "template_unknown",
                say('There is no chat template named "{name}".', name=name),
                say("Use one of these: {names}.", names=", ".join(CHAT_TEMPLATES)),
                "dataset.chat_template",
            )
        try:
            return get_chat_template(tokenizer, chat_template=name)
        except Exception as error:  # mostly a token that the tokenizer lacks
            raise UserError(
                "template_unfit",
                say(
                    'The chat template "{name}" does not fit this model: {reason}',
                    name=name,
                    reason=last_line(error),
                ),
                say("Use auto for the model's own template, or chatml, which fits every model."),
                "dataset.chat_template",
            ) from error
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            "no_chat_template",
            say("This model has no chat template, so chats cannot be written as text."),
            say("Choose a chat template by name, for instance chatml, or use an instruct model."),
            "dataset.chat_template",
        )
    return tokenizer


def render(
    tokenizer: Any, messages: Messages, add_generation_prompt: bool = False, tools: list[Any] | None = None
) -> str:
    """A conversation formatted by the chat template. Raises `UserError` if the template rejects it."""
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **({"tools": tools} if tools else {}),
        )
        return text
    except Exception as error:  # templates raise anything
        raise UserError(
            "template_refused",
            say("The chat template rejects a conversation: {reason}", reason=last_line(error)),
            say("Most templates require user and assistant to alternate, and some reject a system message."),
            "dataset.chat_template",
        ) from error


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer adds the beginning-of-sequence token to a text."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a")["input_ids"][:1] == [bos]


def encode(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text, with only one beginning-of-sequence token if the tokenizer uses one."""
    written = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    ids: list[int] = tokenizer(text, add_special_tokens=not written)["input_ids"]
    return ids


def after_answer(tokenizer: Any) -> str:
    """What the chat template writes after the last answer."""
    text = render(tokenizer, [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}])
    return text.rpartition(_ANSWER)[2]


def check_ending(tokenizer: Any, stop_ids: list[int]) -> None:
    """Raises `UserError` if the chat template does not end an answer with one of `stop_ids`."""
    tail = after_answer(tokenizer)
    if not set(tokenizer(tail, add_special_tokens=False)["input_ids"]) & set(stop_ids):
        raise eos_missing(tokenizer, "dataset.chat_template")


def eos_missing(tokenizer: Any, field: str) -> UserError:
    """The error for examples without an end token: the model would not learn to stop."""
    return UserError(
        "eos_missing",
        say(
            "No example ends with the token that stops the model, {eos}: its answers would never stop.",
            eos=as_string(tokenizer.eos_token),
        ),
        say("Choose another chat template, for instance chatml, or correct the tokenizer of the model."),
        field,
    )
