"""A table fills the union of its objects' keys with nulls: they are not learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config.run_spec import DatasetSpec
from engine.dataset.peek import peek
from engine.dataset.table_nulls import without_table_nulls
from tests.helpers.dataset_files import arrow, parquet

TURNS = [
    {"role": "user", "content": "Hi", "tool_calls": None},
    *(
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}
        for name, arguments in (("f", {"city": "Oslo"}), ("g", {"from": "A", "to": "B"}))
    ),
    {"role": "assistant", "content": "Done.", "tool_calls": None},
]  # fmt: skip
TOOLS = [
    {"function": {"name": "f", "parameters": {"properties": {"city": {"type": "string"}}}}},
    {"function": {"name": "g", "parameters": {"properties": {"from": {"type": "string", "enum": ["A"]}}}}},
]


@pytest.mark.parametrize("name", ["d.parquet", "d.arrow"])
def test_nulls_in_tool_arguments_and_schemas_that_only_the_table_put_there(name: str, tmp_path: Path) -> None:
    write = parquet(name, [{"messages": TURNS, "tools": TOOLS}]) if "parquet" in name else None
    (write or arrow(name, [{"messages": TURNS, "tools": TOOLS}], True))(tmp_path)
    found = peek(str(tmp_path / name), data=DatasetSpec(path=str(tmp_path / name)))
    assert found.detected
    example = found.detected.mapping.example(found.rows[0])
    calls = [call["function"]["arguments"] for turn in example.turns for call in turn.get("tool_calls", [])]
    assert calls == [{"city": "Oslo"}, {"from": "A", "to": "B"}]
    assert example.tools == TOOLS


def test_nulls_of_columns_and_turns_stay() -> None:
    row = {"input": None, "messages": [{"role": "assistant", "content": None, "weight": None}]}
    assert without_table_nulls(row) == row


def test_a_null_that_json_has_is_learned(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": '
        '[{"function": {"name": "f", "arguments": {"city": null}}}]}]}\n'
    )
    found = peek(str(tmp_path / "d.jsonl"))
    assert found.detected
    turn = found.detected.mapping.example(found.rows[0]).turns[1]
    assert turn["tool_calls"][0]["function"]["arguments"] == {"city": None}
