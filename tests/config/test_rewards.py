"""The rewards of a GRPO spec: in YAML, in forms, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config.check import build_spec
from engine.config.fields import FieldError, field_info, parse_field
from engine.config.rewards import Json, Length, Python, Regex, checks_of
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec, to_values

REGEX = {"check": "regex", "pattern": "^Yes", "weight": 0.5}


def spec_with(**grpo: Any) -> tuple[RunSpec | None, list[FieldError]]:
    return build_spec({"training": {"method": "grpo"}, "grpo": grpo})


def test_an_entry_is_a_name_or_an_object(tmp_path: Path) -> None:
    spec, errors = spec_with(rewards=["answer", REGEX])
    assert spec, errors
    assert not errors
    assert spec.grpo.rewards == ("answer", Regex(pattern="^Yes", weight=0.5))
    assert to_values(spec)["grpo"]["rewards"] == ("answer", REGEX)
    save_spec(tmp_path / "spec.yaml", spec)
    assert load_spec(tmp_path / "spec.yaml") == spec


def test_a_form_shows_and_reads_an_entry_as_one_line() -> None:
    line = str(Length(max=100, unit="words"))
    assert line == '{"check": "length", "max": 100, "unit": "words"}'
    info = field_info("grpo.rewards")
    assert info.kind == "lines"
    assert parse_field(info, ("format", line)) == (("format", Length(max=100, unit="words")), None)
    assert parse_field(info, (Json(),)) == ((Json(),), None)  # as the preset has it


def test_a_file_counts_with_all_its_functions_unless_an_entry_names_them() -> None:
    assert checks_of(["format"], "mine.py")[1:] == [Python()]
    named = Python(function="short", weight=2)
    assert checks_of([named], "mine.py") == [named]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "Say what a good answer is"),
        (["anser"], "#1 anser: there is no such check. Did you mean answer?"),
        (["answer", {"check": "foo"}], "#2 foo: there is no such check. There are: answer, regex"),
        ([{"pattern": "x"}], 'the key "check" is missing'),
        ([{"check": "regex", "pattern": "("}], "#1 regex: the pattern is not a regular expression"),
        (["regex"], "#1 regex: it needs a pattern"),
        ([{"check": "regex", "patern": "x"}], 'there is no setting "patern". Did you mean pattern?'),
        ([{"check": "answer", "weight": 0}], "#1 answer: its weight must not be 0"),
        ([{"check": "answer", "weight": float("nan")}], "#1 answer: its weight must not be 0"),
        ([{"check": "answer", "weight": "heavy"}], "#1 answer: weight is wrong"),
        ([{"check": "json", "schema": {"type": "objekt"}}], "#1 json: schema.type must be one of object"),
        ([{"check": "json", "schema": {"minItems": 2}}], "#1 json: schema uses minItems"),
        ([{"check": "json", "schema": {"properties": {"a": []}}}], "schema.properties.a is not a JSON schema"),
        ([{"check": "json", "schema": {}, "schema_file": "a.json"}], "give schema or schema_file"),
        ([{"check": "length"}], "#1 length: it needs min or max"),
        ([{"check": "length", "min": 9, "max": 2}], "#1 length: min is above max"),
        ([{"check": "language", "language": "klingon"}], "#1 language: language must be one of zh, en"),
        ([{"check": "forbidden", "words": []}], "#1 forbidden: it needs words"),
        ([{"check": "format", "tags": ["<think>"]}], "#1 format: tags must be names"),
        (["reward_model"], "#1 reward_model: it needs the path"),
        (['{"check": "regex", "pattern": '], "this is not valid JSON"),
        ([7], "#1 7: give the name of a check"),
        ("answer", "Give a list of checks"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_named_with_what_is_wrong(entries: Any, said: str) -> None:
    _, errors = spec_with(rewards=entries)
    assert [error.field for error in errors] == ["grpo.rewards"]
    assert said in str(errors[0].message)


def test_functions_need_their_file() -> None:
    _, errors = spec_with(rewards=["python"])
    assert [error.field for error in errors] == ["grpo.rewards_file"]
    spec, errors = spec_with(rewards_file="mine.py")
    assert spec
    assert not errors
    assert msgspec.convert(to_values(spec), RunSpec) == spec
