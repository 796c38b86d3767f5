"""Finds the texts that open a question and an answer in a template, by trying what they leave to be learned.

Tokens melt together where texts meet, each tokenizer in its own way. So no marker is trusted that was not seen
to mask examples right: short and long ones, of one turn and of several, with a system text and without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unsloth.chat_templates import train_on_responses_only
from unsloth_zoo.dataset_utils import get_chat_template_parts

from engine.config import prompt_templates
from engine.config.run_spec import DatasetSpec
from engine.dataset.mapping import Example
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.prompting.prompt_format import PromptFormat, encode

LONGEST_MARKER = 60  # characters
MASKED = -100
_QUESTIONS = ("Do it now.", "And 你好, which one?\n- a\n- b", "1 + 1 = ?")
_ANSWERS = ("The answer.", "Well: 是的, it is.\n\nYes.", "Two.")  # in no system text of a template

Parts = tuple[str, str]
Probe = tuple[Example, list[str]]


def find(data: DatasetSpec, prompt_format: PromptFormat, tokenizer: Any) -> Parts:
    """The texts that open a question and an answer, as given or as found. Raises `UserError`."""
    if data.instruction_part and data.response_part:
        return data.instruction_part, data.response_part
    return (
        chat_markers(prompt_format, tokenizer)
        if prompt_format.format == "messages"
        else pair_markers(prompt_format, tokenizer)
    )


def chat_markers(prompt_format: PromptFormat, tokenizer: Any) -> Parts:
    """Unsloth's own finding if it masks right, as a notebook would have it; else the first that does."""
    probes = list(_chats(prompt_format, tokenizer))
    reason = ""
    found: Parts | None = None
    try:
        given: Parts = get_chat_template_parts(tokenizer)
        if masks(prompt_format, tokenizer, given, probes):
            return given
        found = given
    except Exception as error:  # ValueError, and whatever a template raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    text = prompt_format.training_text(tokenizer, probes[0][0])
    before, _, rest = text.partition(_ANSWERS[0])
    between = rest.partition(_QUESTIONS[1])[0]
    opening = before.rpartition(_QUESTIONS[0])[2]
    for response in _ends(opening):
        for instruction in _ends(between):
            if masks(prompt_format, tokenizer, (instruction, response), probes):
                return instruction, response
    if found:  # a template that the probes do not suit: what is learned is shown before training
        return found
    raise missing(reason)


def _chats(prompt_format: PromptFormat, tokenizer: Any) -> Iterator[Probe]:
    """Chats and the answers in them. A chat that the template refuses is none that it will have to mask."""
    turns = [
        {"role": role, "content": content}
        for question, answer in zip(_QUESTIONS, _ANSWERS, strict=True)
        for role, content in (("user", question), ("assistant", answer))
    ]
    yield Example(turns=turns), list(_ANSWERS)
    yield Example(turns=turns[2:4]), [_ANSWERS[1]]
    told = Example(turns=[{"role": "system", "content": "Be brief."}, *turns[4:]])
    try:
        prompt_format.training_text(tokenizer, told)
    except UserError:
        return
    yield told, [_ANSWERS[2]]


def _ends(text: str) -> Iterator[str]:
    """The ends of a text from the longest that may be a marker on, as far as they say something."""
    for start in range(max(0, len(text) - LONGEST_MARKER), len(text)):
        # Within a word there is no place to begin. A blank at the end melts into the word after it.
        if text[start:].strip() and not (start and text[start - 1].isalnum() and text[start].isalnum()):
            yield from dict.fromkeys((text[start:], text[start:].rstrip(" ")))


def pair_markers(prompt_format: PromptFormat, tokenizer: Any) -> Parts:
    """The texts before question and answer in a prompt text, as far as the tokenizer always cuts them alike.

    Line ends melt into other tokens beside an empty input, and many tokenizers cut a text's first word in a
    way of its own. So ever shorter ends of the text before the answer are tried on examples with and without
    an input, and the first that masks both right is taken.
    """
    before = prompt_templates.before_answer(prompt_format.template)
    for name in prompt_templates.PLACEHOLDERS:
        before = before.replace(f"{{{name}}}", "\0")
    first, last = before.split("\0")[0], before.split("\0")[-1]
    opening = first.rstrip("\n")
    question = opening.rpartition("\n")[2] + first[len(opening) :]
    probes = [
        (Example(pair={"instruction": "Do it.", "input": extra, "output": _ANSWERS[0]}), [_ANSWERS[0]])
        for extra in ("", "Some input.")
    ]
    for response in _ends(last):
        for opens in dict.fromkeys((question, question.rstrip(" "), response)):
            if opens.strip() and masks(prompt_format, tokenizer, (opens, response), probes):
                return opens, response
    raise missing(
        "", say("Open the answer in the prompt text with a line such as ### Answer: or fill in both markers.")
    )


def masks(prompt_format: PromptFormat, tokenizer: Any, parts: Parts, probes: list[Probe]) -> bool:
    """Whether masking with these markers leaves just the answers of each probe, with the tokens that end them."""
    try:
        mask = train_on_responses_only(
            None, instruction_part=parts[0], response_part=parts[1], tokenizer=tokenizer, return_function=True
        )
        return all(_leaves(prompt_format, tokenizer, mask, example, answers) for example, answers in probes)
    except (ValueError, IndexError):  # a marker that comes to no token
        return False


def _leaves(prompt_format: PromptFormat, tokenizer: Any, mask: Any, example: Example, answers: list[str]) -> bool:
    text = prompt_format.training_text(tokenizer, example)
    ids = encode(tokenizer, text)
    runs: list[list[int]] = [[]]
    for token, label in zip(ids, mask({"input_ids": [ids]})["labels"][0], strict=True):
        if label == MASKED:
            runs.append([])
        else:
            runs[-1].append(token)
    learned = [run for run in runs if run]
    if len(learned) != len(answers):
        return False
    end = prompt_format.template.partition("{output}")[2] if prompt_format.format == "alpaca" else ""
    for run, answer in zip(learned, answers, strict=True):
        before, _, after = text.partition(answer)
        if tokenizer.eos_token in after and tokenizer.eos_token_id not in run and len(answers) == 1:
            return False
        # What the template writes around an answer may be learned too: a thought left empty, the end of the turn.
        opened, found, closed = (_bare(p) for p in str(tokenizer.decode(run)).partition(answer))
        if not (found and _bare(before).endswith(opened) and _bare(after).startswith(closed)):
            return False
        if any(_bare(question) in opened + closed for question in _QUESTIONS) or _bare(end) not in closed:
            return False
    return True


def _bare(text: str) -> str:
    """A text without blanks, which decoding adds and drops."""
    return "".join(text.split())


def missing(reason: str, hint: Message | None = None) -> UserError:
    return UserError(
        "markers_missing",
        say("The text that opens an answer cannot be found in the template. {reason}", reason=reason),
        hint or say("Fill in both markers, or switch off training on responses only."),
        "dataset.response_part",
    )
