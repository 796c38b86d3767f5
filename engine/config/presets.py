"""Presets: run specs with a name, shipped with Loris or saved by the user. Sharing one is copying a file."""

import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from engine.config.fields import FieldError, section_fields
from engine.config.paths import user_presets_folder
from engine.config.run_spec import SECTIONS, RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec, save_spec
from engine.messages.message import say


@dataclass(frozen=True)
class Preset:
    """A preset on disk. `spec` is None if the file cannot be used; then `error` has the reason."""

    name: str
    path: Path
    shipped: bool
    spec: RunSpec | None
    error: SpecError | None = None


def shipped_folder() -> Path:
    """The folder of the presets, the demo and the catalogue that come with Loris."""
    return Path(str(resources.files("presets")))


def shipped_preset(stem: str) -> Path:
    """The file of a preset that comes with Loris; it need not exist."""
    return shipped_folder() / f"{stem}.yaml"


def list_presets() -> list[Preset]:
    """The shipped presets, then the user's, sorted by file name. A broken file is listed with its error."""
    found = []
    for folder, shipped in ((shipped_folder(), True), (user_presets_folder(), False)):
        for path in sorted(folder.glob("*.yaml")):
            try:
                spec = load_spec(path)
                found.append(Preset(spec.name or path.stem, path, shipped, spec))
            except SpecError as error:
                found.append(Preset(path.stem, path, shipped, None, error))
    return found


def find_preset(name: str) -> Preset | None:
    """The preset with this name or file stem; the user's wins over a shipped one."""
    return next((p for p in reversed(list_presets()) if name in (p.name, p.path.stem)), None)


def save_preset(name: str, spec: RunSpec, overwrite: bool = False) -> Path:
    """Save under a new name among the user's presets. Raises `SpecError` at the field "name", or OSError."""
    stem = re.sub(r"[^\w.-]+", "-", name.strip()).strip("-.")
    if not stem:
        raise SpecError(None, [FieldError("name", say("Give the preset a name."))])
    path = user_presets_folder() / f"{stem}.yaml"
    if os.path.lexists(path) and not overwrite:
        known = next((preset.name for preset in list_presets() if preset.path == path), path.name)
        raise SpecError(None, [FieldError("name", say('A preset named "{name}" already exists.', name=known))])
    save_spec(path, msgspec.structs.replace(spec, name=name.strip()))
    return path


@dataclass(frozen=True)
class Difference:
    """A setting that differs between two specs."""

    field: str
    before: object
    after: object


def differences(before: RunSpec, after: RunSpec) -> list[Difference]:
    """The settings in which two specs differ, in the order of the wizard."""
    found = []
    for section in SECTIONS:
        old, new = getattr(before, section), getattr(after, section)
        for key, info in section_fields(section).items():
            if (was := getattr(old, key)) != (now := getattr(new, key)):
                found.append(Difference(info.path, was, now))
    return found
