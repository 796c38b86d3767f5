"""Searches the Hugging Face Hub and reads the configurations, splits and first rows of its datasets.

All functions wait for the network: call them in a thread. The first call imports `huggingface_hub`, which
takes 0.3 s. Nothing is written to disk, and no function downloads more than about `MAX_BYTES` of a file.
"""

import queue
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

from engine.config.local_paths import is_local
from engine.hub.errors import HubError, explain_hub_error
from engine.hub.model_card import local_license
from engine.hub.rows import MAX_BYTES, HubRows, can_read, read_rows
from engine.messages.message import say

__all__ = ["MAX_BYTES", "Config", "DatasetPage", "HubError", "HubRows", "SearchResult", "Split", "describe_dataset",
           "first_rows", "license_of", "search_datasets", "search_models"]  # fmt: skip
TIMEOUT_SECONDS = 15.0  # for an answer: the library itself would retry for minutes
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class SearchResult:
    """A repository found by a search. `updated`: the day as 2026-01-31, or empty."""

    id: str
    downloads: int
    likes: int
    private: bool
    gated: bool
    updated: str
    description: str


@dataclass(frozen=True)
class Split:
    """A split of a dataset. `rows`: None if the card does not list it. `bytes`: total size of the files."""

    name: str
    files: tuple[str, ...]
    rows: int | None
    bytes: int


@dataclass(frozen=True)
class Config:
    """A configuration (subset) of a dataset. `default`: used if no name is given."""

    name: str
    splits: tuple[Split, ...]
    default: bool

    def split(self, name: str) -> Split | None:
        """The split with this name, or with the name of a slice such as train[:100]."""
        wanted = name.partition("[")[0]
        return next((split for split in self.splits if split.name == wanted), None)


@dataclass(frozen=True)
class DatasetPage:
    """A dataset on the Hub. `revision`: the commit that was read."""

    id: str
    revision: str
    private: bool
    gated: bool
    license: str
    configs: tuple[Config, ...]

    def config(self, name: str = "") -> Config | None:
        """The configuration with this name, or the default one for ""; None if there is none."""
        if name:
            return next((config for config in self.configs if config.name == name), None)
        return next((config for config in self.configs if config.default), None)


def call_hub(name: str, request: Callable[[Any], _T]) -> _T:
    """The result of `request`, called with `huggingface_hub`. `name`: the repository, for messages.

    Raises `HubError` for errors of the Hub, and if there is no answer after `TIMEOUT_SECONDS`: the library cannot
    be interrupted, so its thread is left running.
    """
    answers: queue.SimpleQueue[tuple[_T | None, Exception | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((request(import_module("huggingface_hub")), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=ask, name="loris-hub", daemon=True).start()
    try:
        answer, error = answers.get(timeout=TIMEOUT_SECONDS)
    except queue.Empty:
        message = say("The Hub did not answer within {seconds} seconds.", seconds=round(TIMEOUT_SECONDS))
        raise HubError("hub_slow", message, say("Try again in a moment."), retryable=True) from None
    if error is not None:
        raise _as_hub_error(error, name) from error
    return cast(_T, answer)


def _as_hub_error(error: Exception, name: str) -> Exception:
    """The `HubError` for an exception, or the exception itself if it has another cause."""
    if isinstance(error, HubError):
        return error
    if problem := explain_hub_error(error, name):
        return problem
    if isinstance(error, OSError | ValueError):
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return HubError("hub_unreadable", say("The Hub's answer cannot be used: {reason}", reason=reason[:300]))
    return error


def search_datasets(query: str, limit: int = 20) -> list[SearchResult]:
    """Datasets whose name contains the words of `query`, most downloaded first. Raises `HubError`.

    Private ones are found only with a login that can read them.
    """
    return _search("list_datasets", query, limit)


def search_models(query: str, limit: int = 20) -> list[SearchResult]:
    """Models whose name contains the words of `query`, most downloaded first. Raises `HubError`."""
    return _search("list_models", query, limit)


def _search(listing: str, query: str, limit: int) -> list[SearchResult]:
    def ask(hub: Any) -> list[SearchResult]:
        found = getattr(hub.HfApi(), listing)(search=query.strip(), sort="downloads", limit=limit)
        return [_search_result(one) for one in found]

    return call_hub(query, ask)


def _search_result(one: Any) -> SearchResult:
    updated = getattr(one, "last_modified", None)
    return SearchResult(
        id=one.id,
        downloads=one.downloads or 0,
        likes=one.likes or 0,
        private=bool(one.private),
        gated=bool(one.gated),
        updated=updated.strftime("%Y-%m-%d") if updated else "",
        description=" ".join((getattr(one, "description", None) or "").split()),
    )


def describe_dataset(name: str, revision: str = "") -> DatasetPage:
    """The configurations and splits of a dataset, by its card or by its file names.

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
            configs=list_configs(card, sizes),
        )

    return call_hub(name, ask)


def first_rows(page: DatasetPage, config: str = "", split: str = "train", limit: int = 20) -> HubRows:
    """The first rows of a split, read from the start of its first file without downloading the rest.

    Raises `HubError`, with code hub_no_config or hub_no_split for an unknown name.
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

    return call_hub(page.id, ask)


def license_of(model_name: str) -> str:
    """The license in a model's card, such as apache-2.0; "" if unknown.

    The license of an adapter's base model is not looked up.
    """
    if is_local(model_name):
        return local_license(model_name)

    def ask(hub: Any) -> str:
        card = hub.HfApi().model_info(model_name).card_data
        found = card.get("license") if card else None
        return found if isinstance(found, str) else ""

    try:
        return call_hub(model_name, ask)
    except HubError:
        return ""


def list_configs(card: dict[str, Any], sizes: dict[str, int]) -> tuple[Config, ...]:
    """The configurations by the card, else by the file names. `sizes`: bytes by path."""
    listed = card.get("configs")
    listed = listed if isinstance(listed, list) else []
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
    for one in listed:
        if isinstance(one, dict) and one.get("config_name"):
            name = str(one["config_name"])
            parts = splits(name, _files_from_card(one, data))
            found.append(Config(name, parts, bool(one.get("default")) or name == "default" or len(listed) == 1))
    if not found and data:
        found = [Config("default", splits("default", _files_by_name(data)), True)]
    return tuple(config for config in found if config.splits)


def _files_from_card(config: dict[str, Any], data: list[str]) -> dict[str, list[str]]:
    """The files of each split, by a configuration in the dataset's card."""
    folder = str(config.get("data_dir") or "").strip("/")
    listed = config.get("data_files")
    if listed is None:
        return _files_by_name([path for path in data if not folder or path.startswith(f"{folder}/")])
    if isinstance(listed, str) or (isinstance(listed, list) and all(isinstance(one, str) for one in listed)):
        listed = [{"split": "train", "path": listed}]
    found: dict[str, list[str]] = {}
    for one in listed if isinstance(listed, list) else []:
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
    """The files of each split by a word in the path, as `datasets` does it; without such words, all are train."""
    found: dict[str, list[str]] = {}
    for path in data:
        words = set(re.split(r"[-._ 0-9/]+", path.lower()))
        split = next((name for name, signs in SPLIT_WORDS.items() if words & set(signs)), None)
        if split:
            found.setdefault(split, []).append(path)
    return {name: found[name] for name in SPLIT_WORDS if name in found} or {"train": data}
