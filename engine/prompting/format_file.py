"""Stores the prompt format of a model next to its weights, for use without the run folder.

A chat template is stored in the tokenizer, but the prompt text of instruction data is not. Without it, the model
would be prompted in a format that it was not trained on.
"""

from pathlib import Path

import msgspec

from engine.prompting.prompt_format import PromptFormat
from engine.runs.checksums import FORMAT_FILE


class FormatFile(msgspec.Struct, frozen=True):
    """The file's content. `version` is increased when an older reader would misread it."""

    prompt: PromptFormat
    version: int = 1


def write_prompt_format(folder: Path, prompt_format: PromptFormat) -> None:
    """Write the file into a folder of weights. Raises OSError."""
    content = msgspec.to_builtins(FormatFile(prompt_format))
    if not prompt_format.as_text:
        del content["prompt"]["as_text"]  # the file of most runs stays as it always was
    (folder / FORMAT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def read_prompt_format(folder: Path) -> PromptFormat | None:
    """The prompt format stored in a folder; None if it is missing, unreadable or of a newer version."""
    try:
        content = msgspec.json.decode((folder / FORMAT_FILE).read_bytes(), type=FormatFile)
    except (OSError, msgspec.DecodeError):
        return None
    return content.prompt if content.version == 1 else None
