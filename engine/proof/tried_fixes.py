"""Fixes for rows whose text lacks a part. Each is offered only if it works for the first such row."""

from typing import Any

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Mapping, Row
from engine.messages.message import Message, say
from engine.protocol.data_report import Fix
from engine.training.method import TrainingMethod
from engine.training.row_check import Part


def tried_fixes(method: TrainingMethod, row: Row, mapping: Mapping, part: Part | None) -> tuple[Fix, ...]:
    """The fixes after which the row's text has this part; None: after which the template accepts the row."""
    return tuple(
        Fix(label, {f"dataset.{key}": value for key, value in changes.items()})
        for label, changes in _candidates(method.spec.dataset, part, method.prompt_format.format)
        if method.would_write(row, mapping, part, changes)
    )


def _candidates(
    data: DatasetSpec, part: Part | None, kind: PromptFormatName
) -> list[tuple[Message, dict[str, Any]]]:
    if kind == "plain":
        return []
    if kind == "messages":
        as_text = say("Write it as plain text, where the template has no place for it")
        last_only = say("Learn only the last answer of each chat")
        thought = [(last_only, {"last_answer_only": True})] if part == "thought" else []
        return [(as_text, {"missing_parts": "text"}), *thought]
    template = data.prompt_template
    if part == "system":
        completed = "{system}\n\n" + template
    else:
        completed = template.replace("{instruction}", "{instruction}\n\n{input}")
    return [
        (say("Add it to the prompt template"), {"prompt_template": completed}),
        (say("Write the pairs as chats, with the chat template"), {"written_with": "chat_template"}),
    ]
