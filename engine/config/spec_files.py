"""Run specs as YAML files: read with file, line and field in every error; written with comments kept."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.config.check import build
from engine.config.fields import FieldError
from engine.config.run_spec import SECTIONS, RunSpec, sections_of
from engine.config.spec_error import SpecError

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

# Fields that may name a place on disk. A relative path that starts with a dot is meant from the spec's own
# folder, so that a preset can travel together with its data; anything else may be a Hub id.
PATH_FIELDS = ("model.model_name", "dataset.path", "dataset.eval_path", "training.output_dir", "export.copy_to")


def load_spec(path: Path) -> RunSpec:
    """Read a run spec or preset. Raises `SpecError` with everything that is wrong, each with its line."""
    from engine.config.yaml_document import builtins, read

    document = read(path)
    spec, errors = build(builtins(document))
    if errors or spec is None:
        raise SpecError(path, _located(document, errors))
    return _from_here(spec, path.resolve().parent)


def _located(document: CommentedMap, errors: list[FieldError]) -> list[FieldError]:
    from engine.config.yaml_document import line_of

    return [FieldError(e.field, e.message, line_of(document, e.field)) for e in errors]


def locate(path: Path, errors: list[FieldError]) -> list[FieldError]:
    """The same errors with the lines on which a spec file sets their fields, as far as it can be read."""
    from engine.config.yaml_document import read

    try:
        return _located(read(path), errors)
    except SpecError:
        return errors


def _from_here(spec: RunSpec, folder: Path) -> RunSpec:
    """Make dotted and home-relative paths absolute."""
    values = to_values(spec)
    for field in PATH_FIELDS:
        section, key = field.split(".")
        values[section][key] = _absolute(values[section][key], folder)
    values["dataset"]["mix"] = [_absolute(line, folder) for line in values["dataset"]["mix"]]
    return msgspec.convert(values, RunSpec)


def _absolute(value: str, folder: Path) -> str:
    if value.startswith(("./", "../")) or value in (".", ".."):
        return os.path.normpath(folder / value)
    return os.path.expanduser(value) if value.startswith("~") else value


def to_values(spec: RunSpec) -> dict[str, Any]:
    """The spec as nested plain dicts and lists, as YAML writes it, without the sections of other methods."""
    values: dict[str, Any] = msgspec.to_builtins(spec)
    return {name: values[name] for name in ("name", "description", *sections_of(spec.training.method))}


def save_spec(path: Path, spec: RunSpec) -> None:
    """Write every setting. A file already there keeps its comments and order. Raises OSError."""
    from engine.config.yaml_document import dump, empty, read, update

    document, values = empty(), to_values(spec)
    if path.exists():
        with suppress(SpecError):  # what cannot be read cannot be kept
            document = read(path)
    for name in SECTIONS.keys() - values.keys():  # of the method that it was for before
        document.pop(name, None)
    update(document, values)
    write_atomically(path, dump(document))


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
