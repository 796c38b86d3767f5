"""Counts what of the rows training uses: each column, each key of a turn, and each turn."""

from collections import Counter
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from typing import Any

from engine.dataset.columns import is_empty
from engine.dataset.mapping import Example, Mapping, Row
from engine.dataset.turn_shapes import USED_KEYS, as_turns
from engine.dataset.turns import is_conversation, parse_json
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
            return
        for side in filter(None, (example, example.rejected)):
            self._count_turns(side, mapping, learn_all)

    def _count_turns(self, example: Example, mapping: Mapping, learn_all: bool) -> None:
        turns = example.turns
        answers = sum(turn["role"] == "assistant" for turn in turns)
        learned = len(turns) if learn_all else answers - len(example.masked)
        if mapping.kind in ("preference", "votes"):
            learned = min(1, len(turns))
        elif mapping.kind == "prompts":
            turns, learned = turns[:-1], 0
        self.learned += learned
        self.masked += len(turns) - learned
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
    names = mapping.turns
    if mapping.kind in ("preference", "votes", "prompts"):
        names = tuple(name for name in mapping.fillers if is_conversation(as_turns(row.get(name))))
    found = [parse_json(row.get(name)) for name in names]
    turns = [turn for value in found if isinstance(value, list) for turn in value]
    return [turn if isinstance(turn, AnyMapping) else {"content": turn} for turn in turns]
