"""Test prompts: a question, or for instruction data an instruction with an input of its own."""

from engine.config.object_lines import ObjectLine
from engine.config.prompt_templates import placeholders


class Prompt(ObjectLine, frozen=True):
    """An instruction and its input, as in Alpaca data."""

    instruction: str
    input: str = ""


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
