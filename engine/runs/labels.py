"""What the user calls a run, and notes about it: a small file in its folder. The spec stays as it was trained."""

from __future__ import annotations

import msgspec

from engine.config.spec_files import write_atomically
from engine.runs.folder import RunFolder


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """`title`: empty to show the spec's own name. `note`: free text."""

    title: str = ""
    note: str = ""


def read_label(folder: RunFolder) -> Label:
    """The run's label; an empty one where there is none that can be read."""
    try:
        return msgspec.json.decode(folder.label.read_bytes(), type=Label)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Label()


def write_label(folder: RunFolder, label: Label) -> None:
    """Keep a label with its run. Raises OSError."""
    write_atomically(folder.label, msgspec.json.encode(label).decode())
