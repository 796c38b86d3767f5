"""The library versions that this Loris was tested with, compared with the installed ones."""

from importlib import metadata
from pathlib import Path

from engine.messages.message import Message, say

TESTED = Path(__file__).with_name("tested_versions.txt")


def tested_versions() -> dict[str, list[str]]:
    """{library: its versions}, in the file's order; more than one if it depends on the Python version."""
    found: dict[str, list[str]] = {}
    for line in TESTED.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _equals, version = line.partition("==")
            found.setdefault(name, []).append(version)
    return found


def untested_versions() -> dict[str, str]:
    """{library: installed version} of those that were tested with another. Nothing is imported.

    Libraries that are not installed are left out: some do not exist for every platform.
    """
    found = {}
    for name, tested in tested_versions().items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if here.partition("+")[0] not in tested:  # 2.11.0+cu128 is 2.11.0, built for CUDA
            found[name] = here
    return found


def version_notice() -> Message | None:
    """A notice if the libraries have untested versions; None if all are tested."""
    others = untested_versions()
    if not others:
        return None
    tested = tested_versions()
    changes = ", ".join(f"{name} {' / '.join(tested[name])} → {here}" for name, here in others.items())
    return say(
        "Loris was tested with other versions of these libraries (tested → here): {changes}", changes=changes
    )
