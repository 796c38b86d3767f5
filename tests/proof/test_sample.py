"""Which rows of a large file the proof looks at, and what a report says of other context lengths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.run_spec import DatasetSpec
from engine.config.sources import training_sources
from engine.dataset.mapping import BadRow
from engine.messages.message import say
from engine.proof import sample
from engine.proof.sample import Numbered, Sample
from engine.protocol.data_report import DataReport, at_length

LINES = 6000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of lines of very different lengths, each with its own number, that passes for a large one."""
    monkeypatch.setattr(sample, "SAMPLED_BYTES", 1000)
    monkeypatch.setattr(sample, "CHUNK_BYTES", 64)
    monkeypatch.setattr(sample, "HEAD_ROWS", 100)
    path = tmp_path / "large.jsonl"
    rows = [{"instruction": str(n), "output": "x" * (n * 7919 % 97)} for n in range(1, LINES + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def look(path: Path, most: int | None, split: str = "train") -> tuple[Sample, list[Numbered]]:
    found = Sample(training_sources(DatasetSpec(path=str(path), split=split))[0], most)
    return found, list(found)


def numbers(rows: list[Numbered]) -> list[tuple[int, int]]:
    """(the number that a row is given, the one that is written in it)."""
    return [(number, int(row["instruction"])) for number, row in rows if not isinstance(row, BadRow)]


@pytest.mark.parametrize("last", ["\n", ""], ids=["line end", "no line end"])
def test_lines_of_a_large_file_have_their_own_numbers(large: Path, last: str) -> None:
    large.write_text(large.read_text().rstrip("\n") + last)
    found, rows = look(large, 1500)
    assert found.sampled
    assert (found.total, found.exact) == (LINES, True)
    assert all(given == written for given, written in numbers(rows))
    assert 1000 < len(rows) <= 1500


def test_no_line_is_taken_twice(large: Path) -> None:
    _, rows = look(large, 3 * LINES)  # far more places than lines
    seen = [number for number, _ in rows]
    assert seen == sorted(set(seen))
    assert len(seen) > 0.4 * LINES
    assert max(seen) > LINES - 20


def test_a_file_too_large_to_be_counted_is_judged(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "COUNTED_BYTES", 1000)
    found, rows = look(large, 1500)
    assert found.sampled
    assert not found.exact
    assert abs(found.total - LINES) < 0.05 * LINES
    assert len({written for _, written in numbers(rows)}) == len(rows)
    assert all(abs(given - written) < 0.1 * LINES for given, written in numbers(rows))


def test_a_broken_line_of_a_large_file_is_found_with_its_number(large: Path) -> None:
    lines = large.read_text().splitlines()
    lines[49] = '{"instruction": "50"'
    large.write_text("\n".join(lines) + "\n")
    _, rows = look(large, 500)
    bad = [(number, row) for number, row in rows if isinstance(row, BadRow)]
    assert [number for number, _ in bad] == [50]
    assert "50" in str(bad[0][1].describe(50))


def test_all_rows_are_read_when_asked_for(large: Path) -> None:
    found, rows = look(large, None)
    assert (found.total, found.exact, found.sampled) == (LINES, True, False)
    assert [given for given, _ in numbers(rows)] == list(range(1, LINES + 1))


SLICES = {
    "train[10:20]": range(11, 21), "train[:5]": range(1, 6), "train[5990:]": range(5991, 6001),
    "train[:1%]": range(1, 61), "train[-10:]": range(5991, 6001), "train[50%:51%]": range(3001, 3061),
}  # fmt: skip


@pytest.mark.parametrize("split", SLICES)
@pytest.mark.parametrize("most", [None, 5000])
def test_a_slice_is_what_the_engine_takes(split: str, most: int | None, large: Path) -> None:
    found, rows = look(large, most, split)
    assert [written for _, written in numbers(rows)] == list(SLICES[split])
    assert (found.total, found.exact, found.sampled) == (len(SLICES[split]), True, False)


def test_a_part_of_a_slice_says_so(large: Path) -> None:
    found, rows = look(large, 20, "train[50%:]")
    assert [written for _, written in numbers(rows)] == list(range(3001, 3021))
    assert (found.total, found.exact, found.sampled) == (3000, True, True)


def report(lengths: dict[int, int], answers: dict[int, int]) -> DataReport:
    return DataReport(
        path="x", rows_total=4, exact=True, sampled=False, rows=4, format="alpaca", variant="alpaca",
        why=say("because"), confidence=1.0, max_seq_length=512, batch_size=2,
        lengths=tuple(sorted(lengths.items())), answers_at=tuple(sorted(answers.items())),
    )  # fmt: skip


def test_another_length_is_judged_by_the_same_report() -> None:
    found = report({100: 2, 300: 2}, {50: 2, 120: 2})
    assert at_length(found, 300).rows_cut == 0
    assert at_length(found, 299).rows_cut == 2
    assert at_length(found, 120).answers_lost == 2
    assert at_length(found, 121).answers_lost == 0
    assert at_length(found, 50).answers_lost == 4
    # All four in one batch: 4 times 300 tokens are computed for 800.
    whole = at_length(found, 300, batch_size=4)
    assert whole.padding_share == pytest.approx(1 - 800 / 1200)
    assert whole.packed_share == pytest.approx(900 / 1200)  # three sequences of 300
    assert at_length(found, 100, batch_size=4).padding_share == 0
    assert at_length(report({}, {}), 512).padding_share == 0
