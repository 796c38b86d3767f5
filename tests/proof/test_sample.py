"""Which rows of a large file the proof reads, and what a report shows for other context lengths."""

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
    """A file that counts as large, with lines of very different lengths, each with its own number."""
    monkeypatch.setattr(sample, "SAMPLED_BYTES", 1000)
    monkeypatch.setattr(sample, "CHUNK_BYTES", 64)
    monkeypatch.setattr(sample, "HEAD_ROWS", 100)
    path = tmp_path / "large.jsonl"
    rows = [{"instruction": str(n), "output": "x" * (n * 7919 % 97)} for n in range(1, LINES + 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_sample(path: Path, max_rows: int | None, split: str = "train") -> tuple[Sample, list[Numbered]]:
    found = Sample(training_sources(DatasetSpec(path=str(path), split=split))[0], max_rows)
    return found, list(found)


def numbers(rows: list[Numbered]) -> list[tuple[int, int]]:
    """(the number the sample gives a row, the number written in it)."""
    return [(number, int(row["instruction"])) for number, row in rows if not isinstance(row, BadRow)]


@pytest.mark.parametrize("last", ["\n", ""], ids=["line end", "no line end"])
def test_lines_of_a_large_file_have_correct_numbers(large: Path, last: str) -> None:
    large.write_text(large.read_text().rstrip("\n") + last)
    found, rows = read_sample(large, 1500)
    assert found.sampled
    assert (found.total, found.exact) == (LINES, True)
    assert all(given == written for given, written in numbers(rows))
    assert 1000 < len(rows) <= 1500


def test_no_line_is_read_twice(large: Path) -> None:
    _, rows = read_sample(large, 3 * LINES)  # far more positions than lines
    found = [number for number, _ in rows]
    assert found == sorted(set(found))
    assert len(found) > 0.4 * LINES
    assert max(found) > LINES - 20


def test_the_rows_of_a_file_too_large_to_count_are_estimated(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "COUNTED_BYTES", 1000)
    found, rows = read_sample(large, 1500)
    assert found.sampled
    assert not found.exact
    assert abs(found.total - LINES) < 0.05 * LINES
    assert len({written for _, written in numbers(rows)}) == len(rows)
    assert all(abs(given - written) < 0.1 * LINES for given, written in numbers(rows))


def test_a_broken_line_of_a_large_file_is_found_with_its_number(large: Path) -> None:
    lines = large.read_text().splitlines()
    lines[49] = '{"instruction": "50"'
    large.write_text("\n".join(lines) + "\n")
    _, rows = read_sample(large, 500)
    bad = [(number, row) for number, row in rows if isinstance(row, BadRow)]
    assert [number for number, _ in bad] == [50]
    assert "50" in str(bad[0][1].describe(50))


def test_all_rows_are_read_on_request(large: Path) -> None:
    found, rows = read_sample(large, None)
    assert (found.total, found.exact, found.sampled) == (LINES, True, False)
    assert [given for given, _ in numbers(rows)] == list(range(1, LINES + 1))


SLICES = {
    "train[10:20]": range(11, 21), "train[:5]": range(1, 6), "train[5990:]": range(5991, 6001),
    "train[:1%]": range(1, 61), "train[-10:]": range(5991, 6001), "train[50%:51%]": range(3001, 3061),
}  # fmt: skip


@pytest.mark.parametrize("split", SLICES)
@pytest.mark.parametrize("max_rows", [None, 5000])
def test_a_slice_has_the_rows_that_the_engine_uses(split: str, max_rows: int | None, large: Path) -> None:
    found, rows = read_sample(large, max_rows, split)
    assert [written for _, written in numbers(rows)] == list(SLICES[split])
    assert (found.total, found.exact, found.sampled) == (len(SLICES[split]), True, False)


def test_a_sample_of_a_slice_is_reported_as_one(large: Path) -> None:
    found, rows = read_sample(large, 20, "train[50%:]")
    assert [written for _, written in numbers(rows)] == list(range(3001, 3021))
    assert (found.total, found.exact, found.sampled) == (3000, True, True)


def report(lengths: dict[int, int], answers: dict[int, int]) -> DataReport:
    return DataReport(
        path="x", rows_total=4, exact=True, sampled=False, rows=4, format="alpaca", variant="alpaca",
        why=say("because"), confidence=1.0, max_seq_length=512, batch_size=2,
        lengths=tuple(sorted(lengths.items())), answers_at=tuple(sorted(answers.items())),
    )  # fmt: skip


def test_a_report_answers_for_other_context_lengths() -> None:
    found = report({100: 2, 300: 2}, {50: 2, 120: 2})
    assert at_length(found, 300).rows_cut == 0
    assert at_length(found, 299).rows_cut == 2
    assert at_length(found, 120).answers_lost == 2
    assert at_length(found, 121).answers_lost == 0
    assert at_length(found, 50).answers_lost == 4
    # All four in one batch: 4 times 300 tokens are computed for 800.
    padded = at_length(found, 300, batch_size=4)
    assert padded.padding_share == pytest.approx(1 - 800 / 1200)
    assert padded.packed_share == pytest.approx(900 / 1200)  # three sequences of 300
    assert at_length(found, 100, batch_size=4).padding_share == 0
    assert at_length(report({}, {}), 512).padding_share == 0
