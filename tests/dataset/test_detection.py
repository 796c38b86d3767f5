"""The rules of what rows are, and the lines that name the places of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config.check import check
from engine.config.places import absolute_paths
from engine.config.run_spec import DatasetSpec, RunSpec
from engine.config.sources import Slice, Source, parse_source, parse_split, write_source
from engine.config.spec_files import load_spec
from engine.dataset import peek as data_module
from engine.dataset.detection import detect
from engine.dataset.mapping import BadRow, fill
from engine.dataset.peek import check_dataset, peek
from engine.dataset.turns import as_turns
from tests.helpers.dataset_cases import BAD, BOT, GOOD, PREFERENCE, QA, USER, Case
from tests.helpers.dataset_files import lines


def settings(**values: Any) -> DatasetSpec:
    return DatasetSpec(**values)


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("owner/name", Source(path="owner/name")),
        ("  a b/c, d.jsonl ", Source(path="a b/c, d.jsonl")),
        ("x.csv, weight=0.5", Source(path="x.csv", weight=0.5)),
        ("o/n, split=train[:1000], name=en, revision=main, weight=2",
         Source(path="o/n", split="train[:1000]", name="en", revision="main", weight=2)),
        ("o/n , weight = 1e-1 , split = test", Source(path="o/n", split="test", weight=0.1)),
    ],
)  # fmt: skip
def test_a_line_of_the_mix(line: str, source: Source) -> None:
    assert parse_source(line) == (source, None)
    assert parse_source(write_source(source)) == (source, None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "Write a line as"),
        (", weight=2", "Write a line as"),
        ("x, weight=0", "the weight must be a number above 0"),
        ("x, weight=much", "the weight must be a number above 0"),
        ("x, weight=nan", "the weight must be a number above 0"),
        ("x, split=a+b", "the split must be like"),
        ("x, wieght=2", 'Unknown setting "wieght"'),
    ],
)
def test_a_wrong_line_of_the_mix(line: str, words: str) -> None:
    source, message = parse_source(line)
    assert source is None
    assert words in str(message)
    [error] = check(RunSpec(dataset=settings(mix=(line,))))
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
def test_slices_are_counted_as_datasets_counts_them(text: str, bounds: tuple[int, int]) -> None:
    found = parse_split(text)
    assert found
    assert found.bounds(200) == bounds


@pytest.mark.parametrize("text", ["", "a+b", "train[5]", "train[a:b]", "train[:5"])
def test_what_is_no_slice(text: str) -> None:
    assert parse_split(text) is None


def test_a_slice_knows_where_reading_may_end() -> None:
    assert [Slice("train", None, stop).known_stop for stop in ("9", "9%", "-9", None)] == [9, None, None, None]


def test_paths_in_a_spec_are_meant_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text(
        "dataset:\n  path: ./a.jsonl\n  mix:\n    - ./b.jsonl, weight=2\n    - owner/name\n  eval_path: ../c.json\n"
    )
    data = load_spec(tmp_path / "spec.yaml").dataset
    assert data.path == str(tmp_path / "a.jsonl")
    assert data.mix == (f"{tmp_path}/b.jsonl, weight=2", "owner/name")
    assert data.eval_path == str(tmp_path.parent / "c.json")
    monkeypatch.chdir(tmp_path)
    spec = absolute_paths(RunSpec(dataset=settings(path="a.jsonl", mix=("b.csv, split=train[:5]",))))
    assert spec.dataset.mix == (f"{tmp_path}/b.csv, split=train[:5]",)


def test_held_out_rows_and_evaluation_data_exclude_each_other() -> None:
    for other in ({"eval_path": "x.json"}, {"eval_split": "test"}):
        [error] = check(RunSpec(dataset=settings(test_size=0.1, **other)))
        assert error.field == "dataset.test_size"


@pytest.mark.parametrize(
    ("filler", "text"),
    [
        ("a", "1"), ("", ""), ("none", ""), ("{a}-{b}", "1-x{a}"), ("{a}\\n{b}", "1\nx{a}"), ("= {a} {c}", "1 {c}"),
        ("=fixed", "fixed"), ("=", ""), ("{c}", ""),
    ],
)  # fmt: skip
def test_what_fills_a_role(filler: str, text: str) -> None:
    assert fill(filler, {"a": 1, "b": "x{a}"}) == text


@pytest.mark.parametrize(
    "rows",
    [
        [QA], [{"instruction": "a", "output": "b"}], [{"x": "a", "y": "b"}], [PREFERENCE],
        [{"prompt": [USER], "chosen": [BOT], "rejected": [BOT]}],
        [{"chosen": [USER, BOT], "rejected": [USER, BOT]}],
        [{"question": "q", "answer": "a", "log": [USER, BOT]}], [{"a": "x", "b": "y", "c": "z"}],
    ],
)  # fmt: skip
def test_every_alternative_is_one(rows: list[dict[str, Any]]) -> None:
    found = detect(rows, settings())
    assert found.alternatives
    for other in found.alternatives:
        taken = detect(rows, settings(**other.settings))
        assert taken.problem is None, other.settings
        assert taken.mapping.example(rows[0])
        assert taken.mapping != found.mapping or "written_with" in other.settings


def test_what_is_said_is_said_with_the_row() -> None:
    found = detect([{"messages": [USER, BOT]}], settings())
    with pytest.raises(BadRow) as caught:
        found.mapping.example({"messages": 5})
    assert str(caught.value.at(7)).startswith("Row 7: ")


def test_tool_calls_come_as_templates_read_them() -> None:
    call = {"id": "1", "index": None, "function": {"name": "f", "arguments": '{"x": 1}'}}
    [turn] = as_turns([{"role": "assistant", "content": None, "tool_calls": [call], "name": None, "weight": 1}])
    assert turn == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"x": 1}}}],
    }


@pytest.mark.parametrize("case", [*GOOD, *(case for case in BAD if not case.late)], ids=lambda case: case.name)
def test_the_table_without_an_engine(case: Case, tmp_path: Path) -> None:
    """Quick, and without torch: tests/training/test_dataset_cases.py compares the same with the engine."""
    if "save_to_disk" in case.name or "split in a folder" in case.name:
        pytest.importorskip("datasets")
    case.write(tmp_path)
    values = {key: value for key, value in case.settings.items() if key != "mix"}
    mix = tuple(line.replace("./", f"{tmp_path}/") for line in case.settings.get("mix", ()))
    if "eval_path" in values:
        values["eval_path"] = str(tmp_path / values["eval_path"])
    data = settings(**values, path=str(tmp_path / case.path), mix=mix)
    errors = check_dataset(data)
    seen = peek(data.path, data=data)
    if case.error[0]:
        assert [error.field for error in errors] == [case.error[0]]
        assert case.error[1] in str(errors[0].message)
    else:
        assert errors == []
        assert seen.format == case.kind
        assert seen.detected
        for role, filler in case.mapping.items():
            assert getattr(seen.detected.mapping, role) == filler


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_look_is_bounded(tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(data_module, "CHECKED_BYTES", 100_000)
    path = tmp_path / f"d.jsonl{packed}"
    content = lines([QA] * 100_000).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    seen = peek(str(path))
    assert not seen.exact
    assert seen.error is None
    if not packed:  # how far a file of such sameness packs cannot be told from its start
        assert 90_000 < seen.total < 110_000
