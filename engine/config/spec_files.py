"""Run specs as YAML files: read with file, line and field in every error; written with comments kept."""

from __future__ import annotations

import os
import stat
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.config.check import build_spec
from engine.config.either_or import drop_ignored
from engine.config.fields import FieldError
from engine.config.files import set_aside
from engine.config.rewards import with_paths
from engine.config.run_spec import SECTIONS, RunSpec, sections_of
from engine.config.spec_error import SpecError

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap

# Fields that may be local paths. A path that starts with a dot is relative to the spec's folder, so that a preset
# can be moved together with its data; anything else may be a Hub id.
PATH_FIELDS = (
    "model.model_name", "dataset.path", "dataset.eval_path", "dataset.chat_template", "training.output_dir",
    "export.copy_to", "grpo.rewards_file",
)  # fmt: skip


def load_spec(path: Path) -> RunSpec:
    """Read a run spec or preset. Raises `SpecError` with all errors and their lines."""
    from engine.config.yaml_document import read, to_plain_values

    document = read(path)
    spec, errors = build_spec(to_plain_values(document))
    if errors or spec is None:
        raise SpecError(path, _with_lines(document, errors))
    return _resolve_paths(spec, path.resolve().parent)


def _with_lines(document: CommentedMap, errors: list[FieldError]) -> list[FieldError]:
    from engine.config.yaml_document import line_of

    return [FieldError(e.field, e.message, line_of(document, e.field)) for e in errors]


def add_line_numbers(path: Path, errors: list[FieldError]) -> list[FieldError]:
    """The same errors, with the lines of their fields in a spec file if it can be read."""
    from engine.config.yaml_document import read

    try:
        return _with_lines(read(path), errors)
    except SpecError:
        return errors


def _resolve_paths(spec: RunSpec, folder: Path) -> RunSpec:
    """Make dotted and home-relative paths absolute."""
    values = to_values(spec)
    for field in PATH_FIELDS:
        section, key = field.split(".")
        if section in values:
            values[section][key] = _absolute(values[section][key], folder)
    if "grpo" in values:
        make_absolute = partial(_absolute, folder=folder)
        values["grpo"]["rewards"] = [with_paths(entry, make_absolute) for entry in spec.grpo.rewards]
    values["dataset"]["mix"] = [_absolute(line, folder) for line in values["dataset"]["mix"]]
    return msgspec.convert(values, RunSpec)


def _absolute(value: str, folder: Path) -> str:
    if value.startswith(("./", "../")) or value in (".", ".."):
        return os.path.normpath(folder / value)
    return os.path.expanduser(value) if value.startswith("~") else value


def to_values(spec: RunSpec) -> dict[str, Any]:
    """The spec as nested dicts and lists for YAML, without other methods' sections and epochs that do not count."""
    values: dict[str, Any] = msgspec.to_builtins(spec)
    drop_ignored(values["training"])
    return {name: values[name] for name in ("name", "description", *sections_of(spec.training.method))}


def save_spec(path: Path, spec: RunSpec) -> None:
    """Write every setting. A spec that is replaced keeps its comments and order; any other file is kept aside.

    Raises OSError.
    """
    from engine.config.yaml_document import dump, empty, update

    document, values = _valid_document(path), to_values(spec)
    if document is None:
        document = empty()
        if path.exists() and path.stat().st_size:
            set_aside(path)
    for name in SECTIONS.keys() - values.keys():  # of the method that the file had before
        document.pop(name, None)
    update(document, values)
    for name in values.keys() & SECTIONS.keys():
        for key in document[name].keys() - values[name].keys():  # it does not count any more
            del document[name][key]
    write_atomically(path, dump(document))


def _valid_document(path: Path) -> CommentedMap | None:
    """The document of a spec file without errors; None for any other."""
    from engine.config.yaml_document import read, to_plain_values

    try:
        document = read(path)
    except SpecError:
        return None
    return document if build_spec(to_plain_values(document))[0] is not None else None


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that readers, even after a crash, see either the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):  # a new file, or a file system without modes
            os.fchmod(handle, stat.S_IMODE(path.stat().st_mode))
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
