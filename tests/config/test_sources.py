"""Lines of the mix, and slices of splits."""

from __future__ import annotations

import pytest

from engine.config.check import check_spec
from engine.config.run_spec import DatasetSpec, RunSpec
from engine.config.sources import Slice, Source, parse_source, parse_split, write_source


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("owner/name", Source(path="owner/name")),
        ("  a b/c, d.jsonl ", Source(path="a b/c, d.jsonl")),
        ("x.csv, weight=0.5", Source(path="x.csv", weight=0.5)),
        ("o/n, split=train[:1000], name=en, revision=main, weight=2",
         Source(path="o/n", split="train[:1000]", name="en", revision="main", weight=2)),
        ("b.csv, output_column=reply, encoding=gb18030, instruction_column={a} {b}",
         Source(path="b.csv", encoding="gb18030",
                reading=(("instruction_column", "{a} {b}"), ("output_column", "reply")))),
        ("o/n , weight = 1e-1 , split = test", Source(path="o/n", split="test", weight=0.1)),
    ],
)  # fmt: skip
def test_a_line_of_the_mix(line: str, source: Source) -> None:
    assert parse_source(line) == (source, None)
    assert parse_source(write_source(source)) == (source, None)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "Write a line as"),
        (", weight=2", "Write a line as"),
        ("x, weight=0", "the weight must be a number above 0"),
        ("x, weight=much", "the weight must be a number above 0"),
        ("x, weight=nan", "the weight must be a number above 0"),
        ("x, split=a+b", "the split must be like"),
        ("x, encoding=gbq", "gb18030"),
        ("x, format=chat", "messages"),
        ("x, wieght=2", 'Unknown setting "wieght"'),
    ],
)
def test_an_invalid_line_of_the_mix(line: str, expected: str) -> None:
    source, message = parse_source(line)
    assert source is None
    assert expected in str(message)
    [error] = check_spec(RunSpec(dataset=DatasetSpec(mix=(line,))))
    assert (error.field, error.message) == ("dataset.mix", message)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("train", (0, 200)),
        ("train[:50]", (0, 50)),
        ("train[10:20]", (10, 20)),
        ("train[:10%]", (0, 20)),
        ("train[90%:]", (180, 200)),
        ("train[-5:]", (195, 200)),
        ("train[50:20]", (50, 50)),
        ("train[:1000]", (0, 200)),
    ],
)
def test_slices_have_the_bounds_of_datasets(text: str, bounds: tuple[int, int]) -> None:
    found = parse_split(text)
    assert found
    assert found.bounds(200) == bounds


@pytest.mark.parametrize("text", ["", "a+b", "train[5]", "train[a:b]", "train[:5"])
def test_invalid_slices(text: str) -> None:
    assert parse_split(text) is None


def test_a_slice_gives_where_reading_may_stop() -> None:
    assert [Slice("train", None, stop).known_stop for stop in ("9", "9%", "-9", None)] == [9, None, None, None]
