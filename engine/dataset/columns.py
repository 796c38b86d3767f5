"""The columns of some rows: which are there, what they hold, and which are filled in the same rows."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from engine.dataset.mapping import Row, columns_in
from engine.dataset.turn_shapes import as_turns, has_texts_as_turns
from engine.dataset.turns import is_conversation

SOME = 10  # a question wins over a column for context that fills up to so many times as many rows


def is_enough(count: int, most: int) -> bool:
    """Whether a more certain name or format, with `count` rows, wins over a less certain one with `most`."""
    return count == most or 2 * count > most


def is_empty(value: Any) -> bool:
    return value in (None, "", [], {}) or (isinstance(value, str) and not value.strip())


class Columns:
    """The columns of some rows, and their values. Names are found whatever their case."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.names = list(dict.fromkeys(str(key) for row in rows for key in row))
        self._plain = {name.strip().lower(): name for name in reversed(self.names)}
        self._rows = rows
        self._filled = {
            name: {n for n, row in enumerate(rows) if not is_empty(row.get(name))} for name in self.names
        }

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def named(self, names: Sequence[str]) -> list[str]:
        """The columns with one of these names, in the order of the names."""
        return [self._plain[name] for name in names if name in self._plain]

    def find(self, names: Sequence[str], *, exclude: str = "") -> str:
        """The first column with one of these names that is filled in enough rows; "" if there is none."""
        found = {name: self.count(name) for name in self.named(names) if name != exclude}
        return next((name for name, count in found.items() if is_enough(count, max(found.values()))), "")

    def together(self, names: Sequence[str]) -> tuple[str, ...]:
        """The columns with all these names, if a row has them all filled; else empty."""
        found = tuple(self._plain.get(name, "") for name in names)
        return found if self.count(*found) else ()

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """The columns with all these names, filled or not; else empty."""
        found = self.named(names)
        return tuple(found) if len(found) == len(names) else ()

    def count(self, *names: str) -> int:
        """In how many rows all these columns are filled."""
        if not names:
            return len(self._rows)
        return len(set.intersection(*(self._filled.get(name, set()) for name in names)))

    def find_pair(
        self, questions: Sequence[str], answers: Sequence[str], contexts: Sequence[str]
    ) -> tuple[str, str] | None:
        """The first question and answer that are filled in the same rows, and in enough of them; else a pair that
        one row has. Each is a column or a template.

        A question with one of the names `contexts` is taken only if hardly a row has another one.
        """
        pairs = [(question, answer) for question, answer in product(questions, answers) if question != answer]
        found = {pair: self.count(*columns_in(pair[0]), *columns_in(pair[1])) for pair in pairs}
        asked = {pair: count for pair, count in found.items() if pair[0].lower() not in contexts}
        most = max(found.values(), default=0)
        if max(asked.values(), default=0) * SOME >= most:
            found, most = asked, max(asked.values(), default=0)
        if filled := next((pair for pair, count in found.items() if count and is_enough(count, most)), None):
            return filled
        return next((pair for pair in pairs if self.in_one_row(*columns_in(pair[0]), *columns_in(pair[1]))), None)

    def in_one_row(self, *names: str) -> bool:
        """Whether a row has all these columns, filled or not."""
        return any(all(name in row for name in names) for row in self._rows)

    def values(self, name: str) -> list[Any]:
        """The values of a column that are not empty."""
        return [row[name] for row in self._rows if row.get(name) not in (None, "", [])]

    def is_text(self, name: str) -> bool:
        values = self.values(name)
        return bool(values) and all(isinstance(value, str) for value in values)

    def has_turns(self, name: str, *, texts: bool = False) -> bool:
        """Whether a column has turns. `texts`: also such as are texts without roles."""
        return any(
            is_conversation(as_turns(value)) and (texts or not has_texts_as_turns(value))
            for value in self.values(name)
        )
