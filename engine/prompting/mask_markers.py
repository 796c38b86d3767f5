"""Finds the mask markers of a template: the texts that open a question and an answer.

Tokenizers merge tokens where texts meet, each in its own way. So each candidate is tested: it must mask probe
examples correctly, short and long, with one turn and several, with and without a system text.
"""

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

Markers = tuple[str, str]
Probe = tuple[Example, list[str]]


def find_markers(data: DatasetSpec, prompt_format: PromptFormat, tokenizer: Any) -> Markers:
    """(instruction marker, response marker), from the settings or found. Raises `UserError`."""
    if data.instruction_part and data.response_part:
        return data.instruction_part, data.response_part
    return (
        chat_markers(prompt_format, tokenizer)
        if prompt_format.format == "messages"
        else pair_markers(prompt_format, tokenizer)
    )


def chat_markers(prompt_format: PromptFormat, tokenizer: Any) -> Markers:
    """The markers that Unsloth finds if they mask correctly, else the first ones that do. Raises `UserError`."""
    probes = list(_chat_probes(prompt_format, tokenizer))
    reason = ""
    found: Markers | None = None
    try:
        given: Markers = get_chat_template_parts(tokenizer)
        if masks_correctly(prompt_format, tokenizer, given, probes):
            return given
        found = given
    except Exception as error:  # ValueError, or anything that a template raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    text = prompt_format.training_text(tokenizer, probes[0][0])
    before, _, rest = text.partition(_ANSWERS[0])
    between = rest.partition(_QUESTIONS[1])[0]
    opening = before.rpartition(_QUESTIONS[0])[2]
    for response in _suffixes(opening):
        for instruction in _suffixes(between):
            if masks_correctly(prompt_format, tokenizer, (instruction, response), probes):
                return instruction, response
    if found:  # the probes do not fit this template; the learned tokens are shown before training
        return found
    raise markers_missing(reason)


def _chat_probes(prompt_format: PromptFormat, tokenizer: Any) -> Iterator[Probe]:
    """Probe chats and their answers; without the system text if the template rejects it."""
    turns = [
        {"role": role, "content": content}
        for question, answer in zip(_QUESTIONS, _ANSWERS, strict=True)
        for role, content in (("user", question), ("assistant", answer))
    ]
    yield Example(turns=turns), list(_ANSWERS)
    yield Example(turns=turns[2:4]), [_ANSWERS[1]]
    with_system = Example(turns=[{"role": "system", "content": "Be brief."}, *turns[4:]])
    try:
        prompt_format.training_text(tokenizer, with_system)
    except UserError:
        return
    yield with_system, [_ANSWERS[2]]


def _suffixes(text: str) -> Iterator[str]:
    """The non-blank suffixes of a text, longest first, of at most `LONGEST_MARKER` characters."""
    for start in range(max(0, len(text) - LONGEST_MARKER), len(text)):
        # Never start within a word. A trailing space merges into the token of the next word.
        if text[start:].strip() and not (start and text[start - 1].isalnum() and text[start].isalnum()):
            yield from dict.fromkeys((text[start:], text[start:].rstrip(" ")))


def pair_markers(prompt_format: PromptFormat, tokenizer: Any) -> Markers:
    """The texts before question and answer in a prompt text, as far as they are always tokenized the same way.

    Line ends merge with other tokens next to an empty input, and many tokenizers split the first word of a text
    differently. So shorter and shorter suffixes of the text before the answer are tried on examples with and
    without an input; the first that masks both correctly is used. Raises `UserError`.
    """
    before = prompt_templates.before_answer(prompt_format.template)
    for name in prompt_templates.PLACEHOLDERS:
        before = before.replace(f"{{{name}}}", "\0")
    texts = before.split("\0")
    first, last = next((text for text in texts if text.strip()), ""), texts[-1]
    opening = first.rstrip("\n")
    question = opening.rpartition("\n")[2] + first[len(opening) :]
    probes = [
        (Example(pair={"instruction": "Do it.", "input": extra, "output": _ANSWERS[0]}), [_ANSWERS[0]])
        for extra in ("", "Some input.")
    ]
    for response in _suffixes(last):
        for opens in dict.fromkeys((question, question.rstrip(" "), response)):
            if opens.strip() and masks_correctly(prompt_format, tokenizer, (opens, response), probes):
                return opens, response
    raise markers_missing(
        "", say("Open the answer in the prompt template with a line such as ### Answer: or fill in both markers.")
    )


def masks_correctly(prompt_format: PromptFormat, tokenizer: Any, markers: Markers, probes: list[Probe]) -> bool:
    """Whether masking with these markers keeps only the answers of each probe, with their end tokens."""
    try:
        mask = train_on_responses_only(
            None, instruction_part=markers[0], response_part=markers[1], tokenizer=tokenizer, return_function=True
        )
        return all(_masks_one(prompt_format, tokenizer, mask, example, answers) for example, answers in probes)
    except (ValueError, IndexError):  # a marker that gives no token
        return False


def _masks_one(
    prompt_format: PromptFormat, tokenizer: Any, mask: Any, example: Example, answers: list[str]
) -> bool:
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
        # Template text around an answer may be learned too: an empty thought, the end of the turn.
        opened, found, closed = (_squeeze(p) for p in str(tokenizer.decode(run)).partition(answer))
        if not (found and _squeeze(before).endswith(opened) and _squeeze(after).startswith(closed)):
            return False
        if any(_squeeze(question) in opened + closed for question in _QUESTIONS) or _squeeze(end) not in closed:
            return False
    return True


def _squeeze(text: str) -> str:
    """A text without whitespace, which decoding adds and drops."""
    return "".join(text.split())


def markers_missing(reason: str, hint: Message | None = None) -> UserError:
    return UserError(
        "markers_missing",
        say("The text that opens an answer cannot be found in the template. {reason}", reason=reason),
        hint or say("Fill in both markers, or turn off training on responses only."),
        "dataset.response_part",
    )
