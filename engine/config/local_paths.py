"""Tells local files and folders from Hub ids, and makes local paths absolute."""

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from engine.config.fields import FieldError
from engine.config.paths import runs_folder
from engine.config.rewards import with_paths
from engine.config.run_spec import RunSpec
from engine.config.sources import parse_source, write_source
from engine.config.spec_files import to_values
from engine.messages.message import Message, say

ROW_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt")
PACKED_SUFFIXES = (".gz", ".zst")
DATA_SUFFIXES = (
    *ROW_SUFFIXES,
    *(kind + packed for kind in (*ROW_SUFFIXES[:5], ".txt") for packed in PACKED_SUFFIXES),
)
TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2")
LONGEST_HUB_ID = 96
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_local(name: str) -> bool:
    """Whether the name of a model or dataset is a local path rather than a Hub id."""
    return (
        name.startswith(("/", "./", "../", "~"))
        or name in (".", "..")
        or name.lower().endswith(DATA_SUFFIXES)
        or has_pattern(name)
        or os.path.exists(name)
    )


def is_template_file(name: str) -> bool:
    """Whether a chat template is given as a file rather than by its name."""
    return name.startswith(("/", "./", "../", "~")) or name.lower().endswith(TEMPLATE_SUFFIXES)


def has_pattern(name: str) -> bool:
    """Whether a name is a pattern for several files, such as data/*.jsonl."""
    return any(sign in name for sign in "*?") or bool(re.search(r"\[.+\]", name))


def is_hub_id(name: str) -> bool:
    """Whether a name is a valid Hub id: owner/name, or a name alone as for a few old repositories."""
    return len(name) <= LONGEST_HUB_ID and bool(_HUB_ID.fullmatch(name)) and ".." not in name and "--" not in name


def local_path(name: str) -> Path:
    """The absolute path of a local name, relative to the current folder."""
    return Path(os.path.abspath(os.path.expanduser(name)))


def non_utf8_paths(spec: RunSpec) -> list[FieldError]:
    """The paths of the spec, and Loris's own, that are not UTF-8.

    The libraries write paths into files that are: training would end at its first checkpoint, or before.
    """
    mixed = [source.path for line in spec.dataset.mix if (source := parse_source(line)[0])]
    named = [
        ("model.model_name", spec.model.model_name),
        ("dataset.path", spec.dataset.path),
        ("dataset.eval_path", spec.dataset.eval_path),
        *(("dataset.mix", path) for path in mixed),
        ("training.output_dir", str(runs_folder())),
        ("training.output_dir", spec.training.output_dir),
        ("export.copy_to", spec.export.copy_to),
        ("grpo.rewards_file", spec.grpo.rewards_file),
    ]
    always = ("training.output_dir", "export.copy_to", "grpo.rewards_file")
    local = [(f, n) for f, n in named if n and (f in always or _as_utf8(n) != n or is_local(n))]
    return [FieldError(f, message) for f, name in local if (message := non_utf8_path(local_path(name)))]


def non_utf8_path(path: Path) -> Message | None:
    """Why this path, or what it links to, cannot be used; None when it is UTF-8."""
    for one in (str(path), os.path.realpath(path)):
        if (shown := _as_utf8(one)) != one:
            return say(
                "The path {path} is not UTF-8, and the training libraries fail on it: rename it.", path=shown
            )
    return None


def _as_utf8(path: str) -> str:
    """The path with a sign in place of each byte that is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def absolute_paths(spec: RunSpec) -> RunSpec:
    """The same spec with absolute local paths, because the engine runs in another folder."""
    values: dict[str, Any] = to_values(spec)
    for section, key in (("model", "model_name"), ("dataset", "path"), ("dataset", "eval_path")):
        if is_local(values[section][key]):
            values[section][key] = str(local_path(values[section][key]))
    if is_template_file(spec.dataset.chat_template):
        values["dataset"]["chat_template"] = str(local_path(spec.dataset.chat_template))
    values["dataset"]["mix"] = [_absolute_line(line) for line in spec.dataset.mix]
    for section, key in (("training", "output_dir"), ("export", "copy_to"), ("grpo", "rewards_file")):
        if section in values and values[section][key]:
            values[section][key] = str(local_path(values[section][key]))
    if "grpo" in values:
        values["grpo"]["rewards"] = [with_paths(entry, _absolute) for entry in spec.grpo.rewards]
    return msgspec.convert(values, RunSpec)


def _absolute(path: str) -> str:
    return str(local_path(path))


def _absolute_line(line: str) -> str:
    """A line of the mix with its path made absolute, if it is local."""
    source, _ = parse_source(line)
    if source is None or not is_local(source.path):
        return line
    return write_source(msgspec.structs.replace(source, path=str(local_path(source.path))))
