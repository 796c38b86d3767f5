"""Test prompts: a question, or for instruction data an instruction with an input of its own."""

import json

import msgspec

from engine.config.prompt_templates import placeholders


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instruction and its input, as in Alpaca data. Its text is a line of JSON, which a form shows and reads."""

    instruction: str
    input: str = ""

    def __str__(self) -> str:
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False)


def parse_prompt(line: object) -> object:
    """The instruction and input in a line of JSON; anything else unchanged."""
    if isinstance(line, str) and line.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(line, type=Prompt)
        except msgspec.DecodeError:
            return line
    return line


def label(prompt: str | Prompt) -> str:
    """The prompt in a table of answers."""
    return prompt if isinstance(prompt, str) else " | ".join(filter(None, (prompt.instruction, prompt.input)))


def as_turn(prompt: str | Prompt) -> dict[str, str]:
    """The prompt as the turn of a user, with the key `input` if it has one."""
    if isinstance(prompt, str):
        return {"role": "user", "content": prompt}
    return {"role": "user", "content": prompt.instruction, **({"input": prompt.input} if prompt.input else {})}


def fill_question(
    template: str, question: str, extra: str = "", *, placeholder: str = "instruction", instruction: str = ""
) -> dict[str, str]:
    """What fills a prompt template for a question. An input that it has no place for follows the question.

    `placeholder`, `instruction`: where a question without input goes, and the instruction of every row.
    """
    if not extra:
        return {"instruction": instruction, placeholder: question}
    if "input" in placeholders(template):
        return {"instruction": question, "input": extra}
    return {"instruction": join_input(question, extra)}


def join_input(question: str, extra: str) -> str:
    """A question and its input as one text, for formats that have no place for an input."""
    return "\n\n".join(part for part in (question, extra) if part.strip())
