"""Counts what of the rows training uses: each column, each key of a turn, and each turn."""

from collections import Counter
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset.columns import is_empty
from engine.dataset.mapping import Example, Mapping, Row
from engine.dataset.turn_shapes import USED_KEYS
from engine.dataset.turns import parse_json
from engine.protocol.data_report import TurnCounts, Unused


@dataclass
class Usage:
    """`columns`, `keys`: in how many rows each is filled. The keys are those of turns."""

    columns: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    used: set[str] = field(default_factory=set)
    learned: int = 0
    masked: int = 0
    dropped: int = 0

    def add(self, row: Row, mapping: Mapping, example: Example | None, *, learn_all: bool) -> None:
        """Count a row. `example`: None if the row is left out. `learn_all`: nothing is masked."""
        self.columns.update(str(name) for name, value in row.items() if not is_empty(value))
        self.used |= mapping.columns
        raw = _raw_turns(row, mapping)
        self.keys.update({key for turn in raw for key, value in turn.items() if not is_empty(value)})
        if example is None:
            self.dropped += len(raw)
        elif mapping.kind == "messages":
            answers = sum(turn["role"] == "assistant" for turn in example.turns)
            learned = len(example.turns) if learn_all else answers - len(example.masked)
            self.learned += learned
            self.masked += len(example.turns) - learned
            self.dropped += example.dropped_turns

    @property
    def unused(self) -> tuple[Unused, ...]:
        """What training does not use, the most frequent first."""
        columns = [
            Unused("column", name, rows) for name, rows in self.columns.most_common() if name not in self.used
        ]
        keys = [Unused("key", name, rows) for name, rows in self.keys.most_common() if name not in USED_KEYS]
        return (*columns, *keys)

    @property
    def turns(self) -> TurnCounts:
        return TurnCounts(self.learned, self.masked, self.dropped)


def _raw_turns(row: Row, mapping: Mapping) -> list[AnyMapping[str, Any]]:
    """The turns as they are in a row, also in one that cannot be used."""
    found = [parse_json(row.get(name)) for name in mapping.turns]
    turns = [turn for value in found if isinstance(value, list) for turn in value]
    return [turn if isinstance(turn, AnyMapping) else {"content": turn} for turn in turns]
