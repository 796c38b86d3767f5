"""How a model was taught to be asked, kept beside its weights: so it is still known where the run is not.

A chat template travels in the tokenizer. The prompt text of instruction data has no place there, and without it a
model that was trained on such data is asked in a way that it never saw.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.prompting.prompt_format import PromptFormat

FILE = "loris.json"


class FormatFile(msgspec.Struct, frozen=True):
    """The file's content. `version` counts up when an older reader would misread it."""

    prompt: PromptFormat
    version: int = 1


def write_prompt_format(folder: Path, prompt_format: PromptFormat) -> None:
    """Write the file into a folder of weights. Raises OSError."""
    (folder / FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(FormatFile(prompt_format)), indent=2) + b"\n"
    )


def read_prompt_format(folder: Path) -> PromptFormat | None:
    """What the folder says; None where it says nothing, or nothing that can be understood."""
    try:
        kept = msgspec.json.decode((folder / FILE).read_bytes(), type=FormatFile)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.prompt if kept.version == 1 else None
