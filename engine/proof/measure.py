"""Counts, batch by batch, what training would make of the rows."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from engine.dataset.answer_counts import AnswerCounts
from engine.dataset.mapping import BadRow, Example, Mapping, Row
from engine.messages.message import Message
from engine.model.logits import MASKED
from engine.proof.tried_fixes import tried_fixes
from engine.proof.usage import Usage
from engine.protocol.data_report import AnswerSummary, Fix, LackingRows, ProvenRow, TokenView
from engine.training.check_labels import ends_with_stop
from engine.training.hold_out import text_key
from engine.training.method import Encoded, RowProblem, TrainingMethod, convert, incomplete
from engine.training.row_check import COUNTED, Part

SHOWN_EXAMPLES = 20  # from the start; those with a problem are added
SHOWN_OF_A_KIND = 3
SHOWN_TOKENS = 4_000
SHOWN_CHARACTERS = 20_000
SHOWN_VALUE = 200


@dataclass
class RowIssue:
    """Rows with the same problem: how many, the first one, and fixes that were tried on it."""

    count: int = 0
    row: int = 0
    value: str = ""
    message: Message | None = None
    field: str = ""
    fixes: tuple[Fix, ...] = ()

    def add(self, row: int, value: str, message: Message | None = None, field: str = "", times: int = 1) -> None:
        if not self.count:
            self.row, self.value, self.message, self.field = row, value[:SHOWN_VALUE], message, field
        self.count += times


@dataclass
class RowCounts:
    """The counts. `lengths`, `answers_at`: see `engine.protocol.data_report.DataReport`.

    `lacking`: rows whose text lacks a part, by part.
    """

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    answers_at: Counter[int] = field(default_factory=Counter)
    empty: RowIssue = field(default_factory=RowIssue)
    duplicate: RowIssue = field(default_factory=RowIssue)
    bad: RowIssue = field(default_factory=RowIssue)
    unlearned: RowIssue = field(default_factory=RowIssue)
    cut: RowIssue = field(default_factory=RowIssue)
    endless: RowIssue = field(default_factory=RowIssue)
    tied: RowIssue = field(default_factory=RowIssue)  # left out: none of their answers is better
    no_room: RowIssue = field(default_factory=RowIssue)  # prompts that leave no room for an answer
    answers: AnswerCounts = field(default_factory=AnswerCounts)
    learned_by_side: Counter[int] = field(default_factory=Counter)  # tokens; side 0 has the chosen answers
    marked: RowIssue = field(default_factory=RowIssue)
    lacking: dict[Part, RowIssue] = field(default_factory=lambda: defaultdict(RowIssue))
    overlap: RowIssue = field(default_factory=RowIssue)  # rows of the evaluation data that are trained on
    usage: Usage = field(default_factory=Usage)
    keys: list[bytes] = field(default_factory=list)  # of each row that can be trained on; duplicates have the same
    drawn: list[int] = field(default_factory=list)  # these rows as indices into `keys`, one of weight 2 twice
    examples: list[ProvenRow] = field(default_factory=list)

    @property
    def answer_summary(self) -> AnswerSummary:
        counts, by_side = self.answers, self.learned_by_side
        return AnswerSummary(
            pairs=counts.pairs,
            equal=counts.equal.count,
            chosen_longer=counts.longer.count,
            chosen_tokens=by_side[0] / counts.pairs if counts.pairs else 0.0,
            rejected_tokens=by_side[1] / counts.pairs if counts.pairs else 0.0,
            good=counts.good.count,
            bad=counts.bad.count,
        )

    @property
    def lacking_rows(self) -> tuple[LackingRows, ...]:
        """What the texts lack, the worst first."""
        return tuple(LackingRows(part, self.lacking[part].count) for part in COUNTED if part in self.lacking)


class _PendingRow(NamedTuple):
    """A row to be counted: its number in the data, and how many times training uses it.

    `columns`: as the trainer reads it. `texts`: those of them that are whole training texts.
    """

    number: int
    row: Row
    columns: dict[str, str]
    texts: list[str]
    times: int
    mapping: Mapping
    example: Example
    key: bytes


class _Sides(NamedTuple):
    """A row as the trainer gets it, and what its tokens stand for."""

    encoded: tuple[Encoded, ...]
    decoded: str


class RowCounter:
    """Counts rows as a training method uses them. `stops`: the tokens that end an answer."""

    def __init__(self, method: TrainingMethod, stops: set[int]) -> None:
        self.found = RowCounts()
        tokenizer = method.tokenizer
        self._method, self._tokenizer = method, tokenizer
        self._stops, self._limit = stops, method.spec.model.max_seq_length
        # Texts that only the template should write.
        markers = (method.instruction_part, method.response_part, *tokenizer.all_special_tokens)
        self._markers = tuple(dict.fromkeys(m for marker in markers if (m := marker.strip())))
        self._special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
        self._known_keys: set[bytes] = set()
        self._problem_counts: Counter[str] = Counter()
        # While one batch is tokenised, which does not need the GIL, the previous one is counted.
        method.tokens(["a"])  # initialises it, which is not thread-safe
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[list[_PendingRow], Future[list[_Sides]]] | None = None

    def add(self, rows: Sequence[tuple[int, Row | BadRow, int]], mapping: Mapping) -> None:
        """Count a batch of (number, row or why it cannot be read, how many times it is used)."""
        good: list[_PendingRow] = []
        for number, found, times in rows:
            self.found.rows += times
            if isinstance(found, BadRow):
                row: Row = {"raw": found.values["raw"]} if "raw" in found.values else found.values
                made: Any = RowProblem("bad_row", found.describe(number), found.field)
            else:
                row, made = found, convert(number, found, mapping, self._method.row)
            if isinstance(made, RowProblem):
                if not isinstance(found, BadRow):
                    self._count_usage(row, mapping, None)
                issue = self.found.empty if made.empty else self.found.bad
                issue = self.found.tied if made.code == "tie" else issue
                if made.code == "template_refused" and not issue.count:
                    issue.fixes = tried_fixes(self._method, row, mapping, None)
                issue.add(number, _raw(row), made.message, made.field, times)
                self._show_failed(number, row, made.message)
                continue
            example, columns = made
            texts = self._method.texts(columns)
            if example.masked:
                self._method.remember_masked(texts[0], example.masked)
            self._find_markers(number, example, times)
            key = text_key(*columns.values())
            if key in self._known_keys:
                self.found.duplicate.add(number, texts[0])
            self._known_keys.add(key)
            good.append(_PendingRow(number, row, columns, texts, times, mapping, example, key))
        before = self._pending
        self._pending = (good, self._thread.submit(self._encode, good)) if good else None
        if before:
            self._count(before[0], before[1].result())

    def _encode(self, rows: list[_PendingRow]) -> list[_Sides]:
        encoded = self._method.encode([one.columns for one in rows])
        decoded = iter(self._method.decode([side.ids for sides in encoded for side in sides]))
        return [_Sides(sides, "\n".join(next(decoded) for _ in sides)) for sides in encoded]

    def count_overlap(self, rows: Iterable[tuple[int, Row | BadRow]], mapping: Mapping) -> None:
        """Count the rows of the evaluation data whose text is trained on. Call it after the last `add`."""
        for number, row in rows:
            made = None if isinstance(row, BadRow) else convert(number, row, mapping, self._method.row)
            if isinstance(made, tuple) and text_key(*made[1].values()) in self._known_keys:
                self.found.overlap.add(number, self._method.texts(made[1])[0])

    def close(self) -> RowCounts:
        """Count the last batch, and return the counts."""
        last, self._pending = self._pending, None
        if last:
            self._count(last[0], last[1].result())
        self._thread.shutdown(wait=False)
        self.found.examples.sort(key=lambda row: row.number)
        return self.found

    def _find_markers(self, number: int, example: Example, times: int) -> None:
        for content in (text for side in filter(None, (example, example.rejected)) for text in _contents(side)):
            if found := next((marker for marker in self._markers if marker in content), None):
                self.found.marked.add(number, found, times=times)
                return

    def _count(self, rows: list[_PendingRow], found: list[_Sides]) -> None:
        for one, sides in zip(rows, found, strict=True):
            left_out = self._is_left_out(one, sides.decoded)
            self._count_usage(one.row, one.mapping, None if left_out else one.example)
            if left_out:
                continue
            self.found.drawn += [len(self.found.keys)] * one.times
            self.found.keys.append(one.key)
            self._count_row(one, sides.encoded)

    def _count_usage(self, row: Row, mapping: Mapping, example: Example | None) -> None:
        """`example`: None if the row is left out."""
        self.found.usage.add(row, mapping, example, learn_all=not self._method.response_part)

    def _is_left_out(self, one: _PendingRow, decoded: str) -> bool:
        """Count what the row's text lacks. Whether training leaves the row out for it."""
        findings = self._method.lacking(one.row, one.mapping, "\n".join(one.texts), decoded)
        problem = incomplete(one.number, findings, self._method.spec)
        if problem and self._method.spec.dataset.drop_bad_rows:
            self.found.bad.add(one.number, _raw(one.row), problem.message, problem.field, one.times)
            self._show_failed(one.number, one.row, problem.message)
            return True
        for part, finding in {finding.part: finding for finding in reversed(findings)}.items():
            issue = self.found.lacking[part]
            if not issue.count:
                issue.fixes = tried_fixes(self._method, one.row, one.mapping, part)
            issue.add(one.number, finding.value, times=one.times)
        return False

    def _count_row(self, one: _PendingRow, sides: tuple[Encoded, ...]) -> None:
        found, times = self.found, one.times
        found.answers.add(one.number, one.row, one.mapping, one.example, times)
        found.lengths[max(len(side.ids) for side in sides)] += times
        starts = [side.answer_at for side in sides if side.answer_at is not None]
        if starts:
            found.answers_at[max(starts)] += times
        problems: dict[str, str] = {}
        for place, (text, side) in enumerate(zip(one.texts, sides, strict=True)):
            learned = len(side.labels) - side.labels.count(MASKED)
            found.tokens += len(side.labels) * times
            found.learned += learned * times
            found.learned_by_side[place] += learned * times
            problems = {**self._problems_of_side(text, side, learned), **problems}
        for problem, value in problems.items():
            getattr(found, problem).add(one.number, value, times=times)
        self._show(one, sides, next(reversed(problems), ""))

    def _problems_of_side(self, text: str, side: Encoded, learned: int) -> dict[str, str]:
        """The problems of one text of a row, by the names of their counts, each with what to show of the text."""
        length, labels = len(side.ids), side.labels
        if not self._method.learns_answers:
            room = self._limit - self._method.spec.grpo.max_completion_length
            return {"no_room": text} if length > room else {}
        problems = {"cut": text} if length > self._limit and not self._method.divides else {}
        last = islice((label for label in reversed(labels) if label != MASKED), 3)
        if not learned:
            problems["unlearned"] = text
        elif length == len(labels) and not ends_with_stop(list(last), self._stops):
            problems["endless"] = text[-SHOWN_VALUE:]
        return problems

    def _should_show(self, problem: str) -> bool:
        """Whether an example is among the first, or among the first with its problem."""
        if len(self.found.examples) < SHOWN_EXAMPLES:
            return True
        self._problem_counts[problem] += 1
        return bool(problem) and self._problem_counts[problem] <= SHOWN_OF_A_KIND

    def _show(self, one: _PendingRow, sides: tuple[Encoded, ...], problem: str) -> None:
        if not self._should_show(problem):
            return
        shown = [
            ProvenRow(
                number=one.number,
                raw=_raw(one.row),
                text=text[:SHOWN_CHARACTERS],
                tokens=tuple(self._views(side)),
                length=len(side.ids),
                pieces=self._method.pieces(len(side.ids)),
                learned=sum(label != MASKED for label in side.labels),
            )
            for text, side in zip(one.texts, sides, strict=True)
        ]
        other = shown[1] if len(shown) > 1 else None
        self.found.examples.append(msgspec.structs.replace(shown[0], rejected=other))

    def _views(self, side: Encoded) -> Iterator[TokenView]:
        ids = side.ids[: min(len(side.labels), SHOWN_TOKENS)]
        for token, label, part in zip(ids, side.labels, token_texts(self._tokenizer, ids), strict=False):
            yield TokenView(token, part, label != MASKED, token in self._special)

    def _show_failed(self, number: int, row: Row, message: Message) -> None:
        self._problem_counts["bad"] += 1
        if self._problem_counts["bad"] <= SHOWN_OF_A_KIND:
            self.found.examples.append(ProvenRow(number=number, raw=_raw(row), error=message))


def _contents(example: Example) -> Iterator[str]:
    """The texts of an example, as they are in its row."""
    yield from (*example.pair.values(), example.text)
    yield from (str(turn.get("content", "")) for turn in example.turns)


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; a character of several tokens is given to its last one."""
    found: list[str] = []
    start = shown = 0  # decode only from the last complete character on
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        before = tokenizer.decode(ids[start:shown], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids) and end - shown < 4:
            found.append("")
            continue
        found.append(text[len(before) :])
        start, shown = shown, end
    return found


def _raw(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, indent=2, default=str)[:SHOWN_CHARACTERS]
