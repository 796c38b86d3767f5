"""Columns that a mapping needs and the rows lack, each an error at its field."""

from collections.abc import Sequence

from engine.config.fields import FieldError, did_you_mean
from engine.config.run_spec import DatasetSpec
from engine.dataset.answer_detection import is_chat
from engine.dataset.answers import PairMapping, PromptMapping, VoteMapping
from engine.dataset.columns import Columns
from engine.dataset.mapping import Mapping, columns_in
from engine.messages.message import Message, say


def _missing_of_answers(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error for the first column that pairs, votes or prompts need and the rows lack, or None."""
    names = ", ".join(columns.names)
    roles = {"instruction": mapping.instruction}
    if isinstance(mapping, PairMapping) and not mapping.answers:
        roles |= {"chosen": mapping.output, "rejected": mapping.rejected}
    elif isinstance(mapping, VoteMapping):
        roles |= {"output": mapping.output, "label": mapping.label}
    elif isinstance(mapping, PromptMapping):
        roles |= {"output": mapping.output}
    asked = {
        "instruction": say("Name the column with the prompts. The columns are: {columns}.", columns=names),
        "output": say("Name the column with the answers. The columns are: {columns}.", columns=names),
        "label": say("Name the column with the votes. The columns are: {columns}.", columns=names),
        "chosen": say("Name the column with the better answers. The columns are: {columns}.", columns=names),
        "rejected": say("Name the column with the worse answers. The columns are: {columns}.", columns=names),
    }
    optional = ("instruction",) if isinstance(mapping, (PairMapping, VoteMapping)) else ("output",)
    for role, filler in roles.items():
        if not filler and role not in optional:
            return FieldError(f"dataset.{role}_column", asked[role])
        for name in () if filler.startswith("=") else columns_in(filler):
            if name not in columns:
                automatic = getattr(data, f"{role}_column") == "auto"
                message = asked[role] if automatic else no_such_column(name, columns.names)
                return FieldError(f"dataset.{role}_column", message)
    return None


def _template_for_chats(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error if turns shall be written with the prompt template, which has no place for them, or None."""
    answers = isinstance(mapping, (PairMapping, VoteMapping, PromptMapping))
    if data.written_with != "prompt_template" or not answers or not is_chat(mapping, columns):
        return None
    message = say("These are chats: choose the chat template. A prompt template cannot hold a chat.")
    return FieldError("dataset.written_with", message)


def missing_column(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error for the first column that the mapping needs and the rows lack, or None."""
    if mapping.kind in ("preference", "votes", "prompts"):
        return _missing_of_answers(mapping, columns, data) or _template_for_chats(mapping, columns, data)
    if mapping.kind == "messages":
        for name in mapping.turns:
            if name not in columns:
                if data.messages_column != "auto":
                    return FieldError("dataset.messages_column", no_such_column(name, columns.names))
                message = say(
                    "There is no column messages or conversations. The columns are: {columns}.",
                    columns=", ".join(columns.names),
                )
                return FieldError("dataset.messages_column", message)
    pair = mapping.kind == "alpaca" or mapping.history
    roles = ["text"] if mapping.kind == "text" else ["instruction", "input", "output"] if pair else []
    if pair and not mapping.output:
        message = say(
            "Name the column with the answers. The columns are: {columns}.", columns=", ".join(columns.names)
        )
        return FieldError("dataset.output_column", message)
    if mapping.kind in ("alpaca", "messages", "text"):
        for role in (*roles, "system"):
            filler = getattr(mapping, role)
            if filler.startswith("="):
                continue  # a constant can contain braces
            for name in columns_in(filler):
                if name not in columns:
                    return FieldError(f"dataset.{role}_column", no_such_column(name, columns.names))
    return None


def no_such_column(name: str, columns: Sequence[str]) -> Message:
    """An error that lists the existing columns and suggests a similar name."""
    known = ", ".join(columns)
    if near := did_you_mean(name, list(columns)):
        return say(
            'There is no column "{name}". Did you mean {near}? The columns are: {columns}.',
            name=name, near=near, columns=known,
        )  # fmt: skip
    return say('There is no column "{name}". The columns are: {columns}.', name=name, columns=known)
