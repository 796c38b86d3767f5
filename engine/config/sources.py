"""The data sources in the section `dataset`: the main one, the mix, and the evaluation data."""

import re

import msgspec

from engine.config.fields import field_info, parse_field
from engine.config.run_spec import DatasetSpec
from engine.messages.message import Message, say

# How the rows of a source are read, where that differs from the dataset's own settings.
READING = (
    "format", "encoding", "instruction_column", "input_column", "output_column", "system_column", "messages_column",
    "text_column",
)  # fmt: skip
_SETTING = re.compile(rf",\s*(split|name|revision|weight|{'|'.join(READING)})\s*=\s*([^,]*)$")
_SLICE = re.compile(r"\s*([\w.-]+)\s*(?:\[\s*(-?\d+%?)?\s*:\s*(-?\d+%?)?\s*\])?\s*")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One source of rows. `weight`: how many times its rows are used; 0.5 uses a random half of them.

    `encoding`: of its text files. `reading`: (setting of `READING`, value) pairs of a line of the mix.
    """

    path: str
    name: str = ""
    revision: str = ""
    split: str = "train"
    weight: float = 1.0
    encoding: str = "auto"
    reading: tuple[tuple[str, str], ...] = ()


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
        """The row before which reading may stop, if it is known without the number of rows."""
        if self.stop is None or self.stop.startswith("-") or self.stop.endswith("%"):
            return None
        return int(self.stop)

    def bounds(self, rows: int) -> tuple[int, int]:
        """(first, one past the last) among `rows` rows, with the rounding of `datasets`."""
        first, last, _ = slice(_row_index(self.start, rows), _row_index(self.stop, rows)).indices(rows)
        return first, max(first, last)


def _row_index(bound: str | None, rows: int) -> int | None:
    if bound is None:
        return None
    return round(int(bound[:-1]) * rows / 100) if bound.endswith("%") else int(bound)


def parse_split(text: str) -> Slice | None:
    """The slice of a split such as train[:100]; None if it is not valid, or has several parts."""
    found = _SLICE.fullmatch(text)
    return Slice(found[1], found[2], found[3]) if found else None


def parse_source(line: str) -> tuple[Source | None, Message | None]:
    """A line of `dataset.mix`: PATH, then any of split, name, revision, weight and `READING`.

    Returns (source, None) or (None, error message).
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
    reading = {key: given.pop(key) for key in READING if key in given}
    for key, value in reading.items():
        if wrong := parse_field(field_info(f"dataset.{key}"), value)[1]:
            return None, say("In {line}: {reason}", line=line.strip(), reason=str(wrong))
    encoding = reading.pop("encoding", "auto")
    return Source(path=rest, weight=weight, encoding=encoding, reading=tuple(reading.items()), **given), None


def write_source(source: Source) -> str:
    """The line of `dataset.mix` for a source."""
    settings = {
        "split": source.split,
        "name": source.name,
        "revision": source.revision,
        "encoding": source.encoding,
    }
    defaults = {"split": "train", "name": "", "revision": "", "encoding": "auto"}
    parts = [f"{key}={value}" for key, value in settings.items() if value != defaults[key]]
    parts += [f"{key}={value}" for key, value in source.reading]
    parts += [f"weight={source.weight:g}"] if source.weight != 1 else []
    return ", ".join([source.path, *parts])


class SpecSource(msgspec.Struct, frozen=True):
    """A source, and the fields of the spec that name it and its split, for errors."""

    source: Source
    field: str
    split_field: str


def main_source(data: DatasetSpec) -> Source:
    return Source(path=data.path, name=data.name, revision=data.revision, split=data.split, encoding=data.encoding)


def training_sources(data: DatasetSpec) -> list[SpecSource]:
    """The sources of the training rows, in order. Invalid lines of the mix are skipped."""
    mixed = [source for line in data.mix if (source := parse_source(line)[0])]
    return [
        SpecSource(main_source(data), "dataset.path", "dataset.split"),
        *(SpecSource(source, "dataset.mix", "dataset.mix") for source in mixed),
    ]


def eval_source(data: DatasetSpec) -> SpecSource | None:
    """The source of the evaluation rows, if it is not the training data."""
    if not data.eval_path and not data.eval_split:
        return None
    split = data.eval_split or "train"
    if data.eval_path:
        source = Source(path=data.eval_path, split=split, encoding=data.encoding)
        return SpecSource(source, "dataset.eval_path", "dataset.eval_split")
    source = msgspec.structs.replace(main_source(data), split=split)
    return SpecSource(source, "dataset.eval_split", "dataset.eval_split")
