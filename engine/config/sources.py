"""The places that a dataset section names: the main one, what is mixed in, and the rows to evaluate on."""

from __future__ import annotations

import re

import msgspec

from engine.config.run_spec import DatasetSpec
from engine.messages.message import Message, say

_SETTING = re.compile(r",\s*(split|name|revision|weight)\s*=\s*([^,]*)$")
_SLICE = re.compile(r"\s*([\w.-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One place with rows. `weight`: how many times its rows are taken; 0.5 takes a random half of them."""

    path: str
    name: str = ""
    revision: str = ""
    split: str = "train"
    weight: float = 1.0


class Slice(msgspec.Struct, frozen=True):
    """A split such as train[10:1000] or test[:10%]. Bounds are rows, or per cent of them, or None."""

    split: str
    start: str | None = None
    stop: str | None = None

    @property
    def whole(self) -> bool:
        return self.start is None and self.stop is None

    @property
    def known_stop(self) -> int | None:
        """The row before which reading may end, where that can be told without the number of rows."""
        if self.stop is None or self.stop.startswith("-") or self.stop.endswith("%"):
            return None
        return int(self.stop)

    def bounds(self, rows: int) -> tuple[int, int]:
        """(first, one past the last) of so many rows, as `datasets` counts them."""
        first, last, _ = slice(_place(self.start, rows), _place(self.stop, rows)).indices(rows)
        return first, max(first, last)


def _place(bound: str | None, rows: int) -> int | None:
    if bound is None:
        return None
    return round(int(bound[:-1]) * rows / 100) if bound.endswith("%") else int(bound)


def parse_split(text: str) -> Slice | None:
    """The slice that a split names; None for what is no split of one part."""
    found = _SLICE.fullmatch(text)
    return Slice(found[1], found[2], found[3]) if found else None


def parse_source(line: str) -> tuple[Source | None, Message | None]:
    """A line of `dataset.mix`: PATH, then any of split, name, revision and weight.

    Returns (source, None) or (None, why it cannot be understood).
    """
    rest, given = line.strip(), {}
    while found := _SETTING.search(rest):
        given[found[1]] = found[2].strip()
        rest = rest[: found.start()].rstrip()
    example = "owner/name, split=train[:1000], weight=0.5"
    if not rest:
        return None, say("Write a line as {example}.", example=example)
    if unknown := re.search(r",\s*([a-z_]+)\s*=", rest):
        return None, say('Unknown setting "{key}". Write a line as {example}.', key=unknown[1], example=example)
    try:
        weight = float(given.pop("weight", "1"))
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:
        return None, say("In {line}, the weight must be a number above 0, 1000 at most.", line=line.strip())
    if not parse_split(given.get("split", "train")):
        return None, say("In {line}, the split must be like train or train[:1000].", line=line.strip())
    return Source(path=rest, weight=weight, **given), None


def write_source(source: Source) -> str:
    """The line of `dataset.mix` for a source."""
    given = {"split": source.split, "name": source.name, "revision": source.revision}
    usual = {"split": "train", "name": "", "revision": ""}
    parts = [f"{key}={value}" for key, value in given.items() if value != usual[key]]
    parts += [f"weight={source.weight:g}"] if source.weight != 1 else []
    return ", ".join([source.path, *parts])


class Place(msgspec.Struct, frozen=True):
    """A source, and the settings to blame when it, or its split, is not there."""

    source: Source
    field: str
    split_field: str


def main_source(data: DatasetSpec) -> Source:
    return Source(path=data.path, name=data.name, revision=data.revision, split=data.split)


def places_of(data: DatasetSpec) -> list[Place]:
    """Where the rows to train on come from, in order; lines of the mix that say nothing sensible are left out."""
    mixed = [source for line in data.mix if (source := parse_source(line)[0])]
    return [
        Place(main_source(data), "dataset.path", "dataset.split"),
        *(Place(source, "dataset.mix", "dataset.mix") for source in mixed),
    ]


def eval_place(data: DatasetSpec) -> Place | None:
    """Where the rows to evaluate on come from, if not from those to train on."""
    if not data.eval_path and not data.eval_split:
        return None
    split = data.eval_split or "train"
    if data.eval_path:
        return Place(Source(path=data.eval_path, split=split), "dataset.eval_path", "dataset.eval_split")
    source = Source(path=data.path, name=data.name, revision=data.revision, split=split)
    return Place(source, "dataset.eval_split", "dataset.eval_split")
