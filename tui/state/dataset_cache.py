"""Previews of datasets, cached until a file or setting changes. Call it in a thread: it reads and waits."""

import os
from functools import lru_cache

from engine.config.local_paths import is_hub_id, is_local, local_path
from engine.config.run_spec import DatasetSpec
from engine.config.sources import parse_split
from engine.dataset.detection import detect
from engine.dataset.peek import Peek, peek
from engine.hub.errors import HubError
from engine.hub.search import DatasetPage, HubRows, describe_dataset, first_rows
from engine.messages.message import Message
from tui.text.errors import with_hint

ROWS = 20


def peek_local(data: DatasetSpec, method: str = "sft") -> Peek | None:
    """The first rows of a local dataset, their number and format; None when it is not local.

    Never raises. The Hub is asked only by `peek_hub`.
    """
    if not is_local(data.path):
        return None
    try:
        status = os.stat(local_path(data.path))
        stamp = (status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        stamp = (0, 0)
    return _peek_local(data, method, stamp)


@lru_cache(maxsize=8)
def _peek_local(data: DatasetSpec, method: str, _stamp: tuple[int, int]) -> Peek:
    return peek(data.path, ROWS, data, method=method)


def peek_hub(data: DatasetSpec, method: str = "sft") -> Peek | None:
    """The first rows of a Hub dataset, from the start of its first file. None when it is not a Hub id."""
    if is_local(data.path) or not is_hub_id(data.path):
        return None
    split = parse_split(data.split)
    try:
        found = _hub_rows(data.path, data.name, data.revision, split.split if split else data.split)
    except HubError as error:
        return Peek(path=data.path, error=Message("{words}", {"words": with_hint(error.message, error.hint)}))
    rows = [dict(row) for row in found.rows]
    detected = detect(rows, data, method) if rows else None
    return Peek(
        path=data.path,
        columns=found.columns,
        rows=tuple(rows),
        total=found.total or len(rows),
        exact=found.total is not None,
        detected=detected,
        format=detected.kind if detected else "unknown",
    )


def hub_page(data: DatasetSpec) -> DatasetPage | None:
    """The configurations and splits of a Hub dataset, None when the Hub cannot be reached."""
    try:
        return _hub_page(data.path, data.revision) if is_hub_id(data.path) and not is_local(data.path) else None
    except HubError:
        return None


@lru_cache(maxsize=8)
def _hub_page(path: str, revision: str) -> DatasetPage:
    return describe_dataset(path, revision)


@lru_cache(maxsize=8)
def _hub_rows(path: str, name: str, revision: str, split: str) -> HubRows:
    return first_rows(_hub_page(path, revision), name, split, ROWS)
