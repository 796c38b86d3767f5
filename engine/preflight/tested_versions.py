"""The library versions that this Loris was tested with, compared with the installed ones."""

from contextlib import suppress
from importlib import metadata
from pathlib import Path

from engine.messages.message import Message, say
from engine.protocol import events as ev

_MARKS = tuple(b'{"type":"%s"' % name for name in (b"EngineStarted", b"Resumed", b"TrainingStarted"))
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


def changed_since(events: Path, installed: dict[str, str]) -> Message | None:
    """A notice if libraries have other versions than when the run of these events began to train.

    `installed`: {library: version} of now, of the libraries that the run recorded.
    """
    then = _versions_at_start(events)
    changes = [
        f"{name} {then.get(name, '–')} → {installed.get(name, '–')}"
        for name in dict.fromkeys((*then, *installed))
        if then and then.get(name) != installed.get(name)
    ]
    if not changes:
        return None
    return say(
        "These libraries changed since the run started (then → now): {changes}. The losses may differ from those "
        "that the run would have had.",
        changes=", ".join(changes),
    )


def _versions_at_start(events: Path) -> dict[str, str]:
    """The versions recorded by the engine that began to train at the first step; empty if none did."""
    found: dict[str, str] = {}
    recorded: dict[str, str] = {}
    resumed = False
    with suppress(OSError), events.open("rb") as file:
        for line in file:
            match ev.decode(line) if line.startswith(_MARKS) else None:
                case ev.EngineStarted(versions=versions):
                    recorded, resumed = versions, False
                case ev.Resumed():
                    resumed = True
                case ev.TrainingStarted() if not resumed:
                    found = recorded
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
