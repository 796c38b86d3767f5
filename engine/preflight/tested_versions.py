"""Which versions of the libraries this Loris was tested with, and which of those here are others."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from engine.messages.message import Message, say

TESTED = Path(__file__).with_name("tested_versions.txt")


def tested_versions() -> dict[str, list[str]]:
    """{library: its versions}, in the file's order; more than one where Python's version decides."""
    found: dict[str, list[str]] = {}
    for line in TESTED.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _equals, version = line.partition("==")
            found.setdefault(name, []).append(version)
    return found


def other_versions() -> dict[str, str]:
    """{library: the version here} of those that were tested with another. Nothing is imported.

    What is not installed is left out: some libraries do not exist for every machine.
    """
    found = {}
    for name, tested in tested_versions().items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if here.partition("+")[0] not in tested:  # 2.11.0+cu128 is 2.11.0, built for a card
            found[name] = here
    return found


def unlike_tested() -> Message | None:
    """What to tell of a run whose libraries are not those that were tested; None when they are."""
    others = other_versions()
    if not others:
        return None
    tested = tested_versions()
    changes = ", ".join(f"{name} {' / '.join(tested[name])} → {here}" for name, here in others.items())
    return say(
        "Loris was tested with other versions of these libraries (tested → here): {changes}", changes=changes
    )
