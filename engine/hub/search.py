"""Looks at the Hugging Face Hub for the terminal: searches, what a dataset holds, its first rows.

Every function here waits for the network: call it in a thread. The first call imports `huggingface_hub`, which
takes 0.3 s. Nothing is written to disk, and no function downloads more than about `MOST_BYTES` of a file.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

from engine.config.local_paths import is_local
from engine.hub.errors import HubError, hub_problem
from engine.hub.model_card import local_license
from engine.hub.rows import MOST_BYTES, HubRows, can_read, read_rows
from engine.messages.message import say

__all__ = ["MOST_BYTES", "Config", "DatasetPage", "Found", "HubError", "HubRows", "Split", "describe_dataset",
           "first_rows", "license_of", "search_datasets", "search_models"]  # fmt: skip
SECONDS = 15.0  # for an answer: the library itself would wait and try again for minutes
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Found:
    """A repository that a search found. `updated`: the day as 2026-01-31, or empty."""

    id: str
    downloads: int
    likes: int
    private: bool
    gated: bool
    updated: str
    description: str


@dataclass(frozen=True)
class Split:
    """A part of a dataset. `rows` is None where its card does not tell; `bytes`: of its files together."""

    name: str
    files: tuple[str, ...]
    rows: int | None
    bytes: int


@dataclass(frozen=True)
class Config:
    """A configuration (subset) of a dataset. `default`: the one that an empty name means."""

    name: str
    splits: tuple[Split, ...]
    default: bool

    def split(self, name: str) -> Split | None:
        """The split of this name; a slice such as train[:100] means its split."""
        wanted = name.partition("[")[0]
        return next((split for split in self.splits if split.name == wanted), None)


@dataclass(frozen=True)
class DatasetPage:
    """What a dataset on the Hub holds. `revision`: the commit that was looked at."""

    id: str
    revision: str
    private: bool
    gated: bool
    license: str
    configs: tuple[Config, ...]

    def config(self, name: str = "") -> Config | None:
        """The configuration of this name, or for no name the default one; None if there is no such."""
        if name:
            return next((config for config in self.configs if config.name == name), None)
        return next((config for config in self.configs if config.default), None)


def ask_hub(name: str, question: Callable[[Any], _T]) -> _T:
    """The answer to a question that is put to `huggingface_hub`.

    Raises `HubError` for all that the Hub is to blame for, and when there is no answer after `SECONDS`. The
    library's own waiting cannot be cut short, so it is left behind on a thread.
    """
    answers: queue.SimpleQueue[tuple[_T | None, Exception | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((question(import_module("huggingface_hub")), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=ask, name="loris-hub", daemon=True).start()
    try:
        answer, error = answers.get(timeout=SECONDS)
    except queue.Empty:
        message = say("The Hub did not answer within {seconds} seconds.", seconds=round(SECONDS))
        raise HubError("hub_slow", message, say("Try again in a moment."), passing=True) from None
    if error is not None:
        raise _explained(error, name) from error
    return cast(_T, answer)


def _explained(error: Exception, name: str) -> Exception:
    """The `HubError` for an exception, or the exception itself where the Hub is not to blame."""
    if isinstance(error, HubError):
        return error
    if problem := hub_problem(error, name):
        return problem
    if isinstance(error, OSError | ValueError):
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return HubError("hub_unreadable", say("The Hub's answer is of no use: {reason}", reason=reason[:300]))
    return error


def search_datasets(query: str, limit: int = 20) -> list[Found]:
    """Datasets whose name has the words of `query`, most downloaded first. Raises `HubError`.

    Private ones are found with a login alone, and only those that it may read.
    """
    return _search("list_datasets", query, limit)


def search_models(query: str, limit: int = 20) -> list[Found]:
    """Models whose name has the words of `query`, most downloaded first. Raises `HubError`."""
    return _search("list_models", query, limit)


def _search(listing: str, query: str, limit: int) -> list[Found]:
    def ask(hub: Any) -> list[Found]:
        found = getattr(hub.HfApi(), listing)(search=query.strip(), sort="downloads", limit=limit)
        return [_found(one) for one in found]

    return ask_hub(query, ask)


def _found(one: Any) -> Found:
    updated = getattr(one, "last_modified", None)
    return Found(
        id=one.id,
        downloads=one.downloads or 0,
        likes=one.likes or 0,
        private=bool(one.private),
        gated=bool(one.gated),
        updated=updated.strftime("%Y-%m-%d") if updated else "",
        description=" ".join((getattr(one, "description", None) or "").split()),
    )


def describe_dataset(name: str, revision: str = "") -> DatasetPage:
    """The configurations and splits of a dataset, as its card says or as its files are named.

    `revision`: a branch, tag or commit; empty for the newest. Raises `HubError`.
    """

    def ask(hub: Any) -> DatasetPage:
        info = hub.HfApi().dataset_info(name, revision=revision or None, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        card = info.card_data.to_dict() if info.card_data else {}
        license_ = card.get("license")
        return DatasetPage(
            id=info.id,
            revision=info.sha or "",
            private=bool(info.private),
            gated=bool(info.gated),
            license=license_ if isinstance(license_, str) else "",
            configs=configs_of(card, sizes),
        )

    return ask_hub(name, ask)


def first_rows(page: DatasetPage, config: str = "", split: str = "train", limit: int = 20) -> HubRows:
    """The first rows of a split, read from the start of its first file without downloading the rest.

    Raises `HubError`, with code hub_no_config or hub_no_split for a name that is not there.
    """
    chosen = page.config(config)
    if chosen is None:
        names = ", ".join(one.name for one in page.configs)
        if not page.configs:
            raise HubError("hub_no_data", say("{name} has no data files that Loris can show.", name=page.id))
        raise HubError("hub_no_config", say("Name one of its configurations: {names}.", names=names))
    part = chosen.split(split)
    if part is None:
        names = ", ".join(one.name for one in chosen.splits)
        raise HubError("hub_no_split", say("Name one of its splits: {names}.", names=names))

    def ask(hub: Any) -> HubRows:
        path = part.files[0]
        files = hub.HfFileSystem(skip_instance_cache=True)
        return read_rows(files, f"datasets/{page.id}@{page.revision}/{path}", limit)

    return ask_hub(page.id, ask)


def license_of(model_name: str) -> str:
    """The license that a model's card on the Hub names, such as apache-2.0; "" where that cannot be told.

    An adapter's card may name none: then its base model's is not looked for.
    """
    if is_local(model_name):
        return local_license(model_name)

    def ask(hub: Any) -> str:
        card = hub.HfApi().model_info(model_name).card_data
        found = card.get("license") if card else None
        return found if isinstance(found, str) else ""

    try:
        return ask_hub(model_name, ask)
    except HubError:
        return ""


def configs_of(card: dict[str, Any], sizes: dict[str, int]) -> tuple[Config, ...]:
    """The configurations that a card and the files' names make. `sizes`: bytes by path."""
    told = card.get("configs")
    told = told if isinstance(told, list) else []
    described = card.get("dataset_info") or []
    rows = {
        (one.get("config_name") or "default", split.get("name")): split.get("num_examples")
        for one in (described if isinstance(described, list) else [described])
        if isinstance(one, dict)
        for split in one.get("splits") or []
        if isinstance(split, dict)
    }

    def splits(name: str, files: dict[str, list[str]]) -> tuple[Split, ...]:
        return tuple(
            Split(split, tuple(paths), rows.get((name, split)), sum(sizes[path] for path in paths))
            for split, paths in files.items()
            if paths
        )

    data = sorted(path for path in sizes if can_read(path) and not path.rpartition("/")[2].startswith("."))
    found = []
    for one in told:
        if isinstance(one, dict) and one.get("config_name"):
            name = str(one["config_name"])
            parts = splits(name, _files_told(one, data))
            found.append(Config(name, parts, bool(one.get("default")) or name == "default" or len(told) == 1))
    if not found and data:
        found = [Config("default", splits("default", _files_by_name(data)), True)]
    return tuple(config for config in found if config.splits)


def _files_told(config: dict[str, Any], data: list[str]) -> dict[str, list[str]]:
    """The files of each split as a configuration in a dataset's card names them."""
    folder = str(config.get("data_dir") or "").strip("/")
    told = config.get("data_files")
    if told is None:
        return _files_by_name([path for path in data if not folder or path.startswith(f"{folder}/")])
    if isinstance(told, str) or (isinstance(told, list) and all(isinstance(one, str) for one in told)):
        told = [{"split": "train", "path": told}]
    found: dict[str, list[str]] = {}
    for one in told if isinstance(told, list) else []:
        if isinstance(one, dict):
            paths = one.get("path") or []
            patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
            patterns = [f"{folder}/{pattern}" if folder else pattern for pattern in patterns]
            found.setdefault(str(one.get("split") or "train"), []).extend(_matching(patterns, data))
    return found


def _matching(patterns: Iterable[str], data: list[str]) -> list[str]:
    translate = import_module("fsspec.utils").glob_translate
    wanted = [re.compile(translate(pattern.removeprefix("./"))) for pattern in patterns]
    return [path for path in data if any(pattern.match(path) for pattern in wanted)]


def _files_by_name(data: list[str]) -> dict[str, list[str]]:
    """The files of each split where no card tells: by a word in the path, as datasets does; else all is train."""
    found: dict[str, list[str]] = {}
    for path in data:
        words = set(re.split(r"[-._ 0-9/]+", path.lower()))
        split = next((name for name, signs in SPLITS.items() if words & set(signs)), None)
        if split:
            found.setdefault(split, []).append(path)
    return {name: found[name] for name in SPLITS if name in found} or {"train": data}
