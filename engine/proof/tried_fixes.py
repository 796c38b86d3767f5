"""Fixes for rows whose text lacks a part. Each is offered only if it works for the first such row."""

from typing import Any

from engine.config.run_spec import DatasetSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Mapping, Row
from engine.messages.message import Message, say
from engine.protocol.data_report import Fix
from engine.training.method import TrainingMethod
from engine.training.row_check import Part

OTHER_TEMPLATE = {"chat_template": "chatml"}  # writes every turn as it is; the last resort


def tried_fixes(method: TrainingMethod, row: Row, mapping: Mapping, part: Part | None) -> tuple[Fix, ...]:
    """The fixes after which the row's text has this part; None: after which the template accepts the row."""
    data, kind = method.spec.dataset, method.prompt_format.format
    found = [one for one in _candidates(data, part, kind) if method.would_write(row, mapping, part, one[1])]
    if not found and kind == "messages" and method.would_write(row, mapping, part, OTHER_TEMPLATE):
        found = [(say("Use the chat template {name}", name=OTHER_TEMPLATE["chat_template"]), OTHER_TEMPLATE)]
    return tuple(
        Fix(label, {f"dataset.{key}": value for key, value in changes.items()}) for label, changes in found
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
