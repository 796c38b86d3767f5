"""How a model was taught to be asked, kept beside its weights: so it is still known where the run is not.

A chat template travels in the tokenizer. The prompt text of instruction data has no place there, and without it a
model that was trained on such data is asked in a way that it never saw.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.prompting.prompt_format import Style

FILE = "loris.json"


class Kept(msgspec.Struct, frozen=True):
    """The file's content. `version` counts up when an older reader would misread it."""

    prompt: Style
    version: int = 1


def keep_style(folder: Path, style: Style) -> None:
    """Write the file into a folder of weights. Raises OSError."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(Kept(style)), indent=2) + b"\n")


def kept_style(folder: Path) -> Style | None:
    """What the folder says; None where it says nothing, or nothing that can be understood."""
    try:
        kept = msgspec.json.decode((folder / FILE).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.prompt if kept.version == 1 else None
