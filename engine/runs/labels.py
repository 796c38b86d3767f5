"""The user's title and note for a run: a small file in its folder. The spec stays as it was trained."""

import msgspec

from engine.config.files import read_bytes
from engine.config.spec_files import write_atomically
from engine.runs.folder import RunFolder

MAX_BYTES = 1 << 20


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """`title`: empty to show the spec's own name. `note`: free text."""

    title: str = ""
    note: str = ""


def read_label(folder: RunFolder) -> Label:
    """The run's label; an empty one when there is no readable file."""
    try:
        return msgspec.json.decode(read_bytes(folder.label, MAX_BYTES), type=Label)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Label()


def write_label(folder: RunFolder, label: Label) -> None:
    """Write a run's label. Raises OSError."""
    write_atomically(folder.label, msgspec.json.encode(label).decode())
