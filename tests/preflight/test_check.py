"""Bad inputs are errors at their field before an engine is started; good inputs pass."""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from engine.__main__ import read_spec
from engine.client.launch import new_run
from engine.config.local_paths import is_hub_id, is_local
from engine.config.run_spec import DatasetSpec, ExportSpec, ModelSpec, RunSpec, TrainingSpec
from engine.config.spec_error import SpecError
from engine.dataset import json_files
from engine.dataset import peek as data_module
from engine.dataset.peek import peek
from engine.export.llama_cpp import LlamaCpp
from engine.messages.errors import UserError
from engine.preflight import check
from engine.preflight.check import check_inputs
from engine.runs.folder import RunFolder

ROWS = [{"instruction": "q", "output": "a"}, {"instruction": "r", "input": "i", "output": "b"}]
CHAT = [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]
TURNS = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]


def lines(rows: list[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def dataset(spec: RunSpec, path: Path | str, **more: object) -> RunSpec:
    return msgspec.structs.replace(spec, dataset=msgspec.convert({"path": str(path), **more}, DatasetSpec))


def found(spec: RunSpec) -> list[tuple[str, str]]:
    return [(error.field, str(error.message)) for error in check_inputs(spec)]


def test_good_inputs_pass(spec: RunSpec):
    assert found(spec) == []
    assert found(RunSpec()) == [], "Hub ids are left to the engine"


BAD_FILES = {
    "empty.jsonl": ("", "This file is empty"),
    "blank.jsonl": (" \n\n", "This file is empty"),
    "blank.json": (" \n", "This file is empty"),
    "no-rows.json": ("[]", "no rows"),
    "broken.jsonl": (lines(ROWS) + '{"instruction": \n', "Line 3 is not valid JSON"),
    "broken.json": ('[\n{"a": 1},\n{"a" 2}\n]', "Line 3 is not valid JSON"),
    "cut.json": ('[\n{"a": 1},\n', "is not valid JSON"),
    "two.json": ("[1]\n[2]", "Line 1 is [1]: a row must be an object"),
    "text.json": ("hello", "Line 1 is not valid JSON"),
    "numbers.jsonl": (lines(ROWS) + "5\n", "Line 3 is 5: a row must be an object"),
    "strings.json": ('["a", 5]', "Row 2 is 5: a row must be an object"),
    "number.json": ("5", "Row 1 is 5"),
    "null.jsonl": ("null\n", "Line 1 is null"),
    "lists.json": (json.dumps({"train": ROWS, "test": ROWS}), "several lists of rows: train, test"),
    "wide.csv": ("instruction,output\na,b,c\n", "Line 2 has more cells"),
    "header.csv": ("instruction,output\n", "no rows"),
    "data.docx": ("x", "must end in one of these: .json, .jsonl"),
    "twice.csv": ("instruction,output,output\na,b,c\n", 'Two columns are named "output"'),
    "fake.jsonl.gz": ("x" * 100, "cannot be decompressed"),
    "fake.jsonl.zst": ("x" * 100, "cannot be decompressed"),
    "fake.arrow": ("x" * 100, "not an Arrow file"),
    "fake.parquet": ("x" * 100, "not a Parquet file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_data_files(spec: RunSpec, tmp_path: Path, name: str):
    text, expected = BAD_FILES[name]
    path = tmp_path / name
    path.write_text(text)
    [(field, message)] = found(dataset(spec, path))
    assert field == "dataset.path"
    assert expected in message
    peeked = peek(str(path))
    assert expected in str(peeked.error)


@pytest.mark.parametrize("data", [b"\xff\xfe{", b'{"a": "\xe9"}\n{"a": 1}\n', b'[{"a": "\xe9"}]'])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_other_encodings(spec: RunSpec, tmp_path: Path, data: bytes, suffix: str):
    path = tmp_path / f"latin.{suffix}"
    path.write_bytes(data)
    assert "not UTF-8" in found(dataset(spec, path))[0][1]


def test_missing_files_and_folders(spec: RunSpec, good_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    suggestion = f"Did you mean {good_data}?"
    assert suggestion in found(dataset(spec, good_data.with_name("god.jsonl")))[0][1]
    assert found(dataset(spec, tmp_path / "zzz/q.json")) == [("dataset.path", "There is no such file.")]
    assert found(dataset(spec, good_data.parent)) == []
    (tmp_path / "bare").mkdir()
    assert "no data file in this folder" in found(dataset(spec, tmp_path / "bare"))[0][1]
    monkeypatch.chdir(tmp_path)
    assert found(dataset(spec, "good.jsonl")) == []
    assert found(dataset(spec, "./good.jsonl")) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found(dataset(spec, "~/good.jsonl")) == []
    assert "neither a file on this machine nor a Hub id" in found(dataset(spec, "a b/c"))[0][1]


GOOD_FILES = {
    "rows.jsonl": lines(ROWS),
    "rows.json": json.dumps(ROWS),
    "pretty.json": json.dumps(ROWS, indent=2),
    "lines.json": lines(ROWS),
    "under-a-key.json": json.dumps({"version": 1, "data": ROWS}),
    "blank-lines.jsonl": "\n" + lines(ROWS).replace("\n", "\n\n"),
    "windows.jsonl": lines(ROWS).replace("\n", "\r\n"),
    "bom.jsonl": "\ufeff" + lines(ROWS),
    "bom.json": "\ufeff" + json.dumps(ROWS),
    "bom-lines.json": "\ufeff" + lines(ROWS),
    "rows.csv": "\ufeffinstruction,input,output\nq,,a\nr,i,b\n",
    "ROWS.JSONL": lines(ROWS),
    "no-end.jsonl": lines(ROWS).rstrip(),
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_good_data_files(spec: RunSpec, tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(GOOD_FILES[name], encoding="utf-8")
    assert found(dataset(spec, path)) == []
    peeked = peek(str(path), limit=1)
    assert peeked.error is None
    assert peeked.format == "alpaca"
    assert (len(peeked.rows), peeked.total, peeked.exact) == (1, 2, True)
    assert peeked.rows[0]["instruction"] == "q"
    assert set(peek(str(path)).columns) == {"instruction", "input", "output"}


def test_parquet(spec: RunSpec, tmp_path: Path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"instruction": ["q"] * 200, "output": ["a"] * 200}), tmp_path / "t.parquet")
    assert found(dataset(spec, tmp_path / "t.parquet")) == []
    peeked = peek(str(tmp_path / "t.parquet"), limit=3)
    assert (len(peeked.rows), peeked.total, peeked.exact, peeked.format) == (3, 200, True, "alpaca")


ODD = [{"question": "q", "answer": "a"}]
TYPO = [{"instructions": "q", "output": "a"}]
COLUMNS: list[tuple[list[object], dict[str, object], list[tuple[str, str]]]] = [
    (ODD, {}, []),  # the default names adapt to the columns found
    (TYPO, {}, []),
    (ODD, {"instruction_column": "qustion"}, [("instruction_column", "Did you mean question?")]),
    (ODD, {"output_column": "response"}, [("output_column", "The columns are: question, answer.")]),
    (ODD, {"instruction_column": "question", "output_column": "answer"}, []),
    (ODD, {"instruction_column": "", "input_column": "question", "output_column": "answer"}, []),
    (ROWS, {"input_column": "inptu"}, [("input_column", "Did you mean input?")]),
    (ROWS, {"input_column": ""}, []),
    (ROWS, {"output_column": ""}, [("output_column", "Name the column with the answers")]),
    (ROWS, {"format": "messages"}, [("messages_column", "no column messages or conversations")]),
    (CHAT, {}, []),
    (TURNS, {}, []),
    (TURNS, {"format": "messages", "messages_column": "messages"}, []),
    (TURNS, {"messages_column": "mesages"}, [("messages_column", "Did you mean messages?")]),
    (TURNS, {"format": "messages", "messages_column": "chat"}, [("messages_column", 'no column "chat"')]),
    (TURNS, {"format": "alpaca"}, [("instruction_column", "no column")]),
    ([{"messages": "hi"}], {}, [("messages_column", 'Row 1: "messages" must be a list of turns')]),
    ([*TURNS, {"messages": [{"who": "me", "text": "x"}]}], {}, [("messages_column", "Row 2: a turn in")]),
    ([*TURNS, {"messages": [5]}], {}, [("messages_column", "it has int")]),
    ([*TURNS, {"messages": []}, {"messages": None}], {}, []),  # the engine leaves these out
    ([{"messages": "hi", "instruction": "q", "output": "a"}], {}, []),  # the engine detects this as Alpaca
    ([{"chat": TURNS[0]["messages"]}], {"messages_column": "chat"}, []),
]


@pytest.mark.parametrize(("rows", "settings", "errors"), COLUMNS)
def test_columns(
    spec: RunSpec, tmp_path: Path, rows: list[object], settings: dict[str, object], errors: list[tuple[str, str]]
):
    path = tmp_path / "d.jsonl"
    path.write_text(lines(rows))
    actual = found(dataset(spec, path, **settings))
    assert [field for field, _ in actual] == [f"dataset.{field}" for field, _ in errors]
    for (_, message), (_, expected) in zip(actual, errors, strict=True):
        assert expected in message


@pytest.mark.parametrize(("split", "good"), [("train", True), ("train[:10]", True), ("test", False), ("", False)])
def test_a_file_has_one_split(spec: RunSpec, good_data: Path, split: str, good: bool):
    assert [f for f, _ in found(dataset(spec, good_data, split=split or " "))] == (
        [] if good else ["dataset.split"]
    )


def test_formats_are_detected(tmp_path: Path):
    path = tmp_path / "d.jsonl"
    for rows, guess in (
        (ROWS, "alpaca"),
        (CHAT, "messages"),
        (TURNS, "messages"),
        (ODD, "alpaca"),
        ([{"a": 1}], "unknown"),
    ):
        path.write_text(lines(rows))
        assert peek(str(path)).format == guess


def model(spec: RunSpec, name: Path | str) -> list[tuple[str, str]]:
    return found(msgspec.structs.replace(spec, model=ModelSpec(model_name=str(name))))


def test_models(spec: RunSpec, good_model: Path, tmp_path: Path):
    def rejected(name: Path | str, reason: str) -> bool:
        [(field, message)] = model(spec, name)
        return field == "model.model_name" and reason in message

    assert rejected(tmp_path / "gone", "no such folder")
    assert rejected("./gone", "no such folder")
    assert rejected("one/two/three", "neither a folder on this machine nor a Hub id")
    assert rejected(good_model / "config.json", "This is a file")
    assert rejected(tmp_path, "is not a model")
    (good_model / "model.safetensors").unlink()
    assert rejected(good_model, "no weights")
    (good_model / "config.json").write_text("{")
    assert rejected(good_model, "not valid JSON")


def test_adapters(spec: RunSpec, good_model: Path, tmp_path: Path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(good_model)}))
    assert "no weights" in model(spec, adapter)[0][1]
    (adapter / "adapter_model.safetensors").write_bytes(b"x")
    assert model(spec, adapter) == []
    config.write_text(json.dumps({"base_model_name_or_path": "/gone"}))
    assert "the model in /gone, which is not there" in model(spec, adapter)[0][1]
    config.write_text("[]")
    assert "not valid JSON" in model(spec, adapter)[0][1]


@pytest.mark.parametrize("path", ["{file}", "{file}/deeper/still", "/proc/x"])
@pytest.mark.parametrize("field", ["training.output_dir", "export.copy_to"])
def test_folders_that_cannot_be_written(spec: RunSpec, good_data: Path, path: str, field: str):
    section, key = field.split(".")
    part = msgspec.structs.replace(getattr(spec, section), **{key: path.format(file=good_data)})
    [(at, message)] = found(msgspec.structs.replace(spec, **{section: part}))
    assert at == field
    assert str(good_data) in message or "/proc" in message


def test_checks_create_no_files(spec: RunSpec, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    far = tmp_path / "not/yet/there"
    assert found(msgspec.structs.replace(spec, training=TrainingSpec(output_dir=str(far)))) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_trackers_must_be_installed(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    wanted = msgspec.structs.replace(spec, training=TrainingSpec(report_to="wandb"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [field for field, _ in found(wanted)] == ["training.report_to"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert found(wanted) == []


def test_a_merged_model_must_fit(spec: RunSpec):
    big = msgspec.structs.replace(
        spec, model=ModelSpec(model_name="unsloth/Huge-900000B"), export=ExportSpec(merged_16bit=True)
    )
    [(field, message)] = found(big)
    assert field == "export.merged_16bit"
    assert "about 1800000.0 GB" in message
    assert found(msgspec.structs.replace(big, export=ExportSpec())) == []


def test_gguf_files_need_llama_cpp_and_disk_space(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reported before the training, not after it."""
    wanted = msgspec.structs.replace(spec, export=ExportSpec(gguf=("q4_k_m",)))
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(tmp_path / "none"))
    [(field, message)] = found(wanted)
    assert (field, "There is no folder" in message) == ("export.gguf", True)
    ready = LlamaCpp("ready", tmp_path, types=frozenset({"q4_k_m"}))
    monkeypatch.setattr(check, "find_llama_cpp", lambda: ready)
    assert found(wanted) == []
    other = msgspec.structs.replace(spec, export=ExportSpec(gguf=("q8_0",)))
    assert "cannot make q8_0" in found(other)[0][1]
    big = msgspec.structs.replace(wanted, model=ModelSpec(model_name="unsloth/Huge-900000B"))
    [(field, message)] = found(big)
    assert (field, "about 4151" in message) == ("export.gguf", True), message


def test_a_push_needs_a_name_and_a_login(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    wanted = msgspec.structs.replace(spec, export=ExportSpec(push_to="ann/mine"))
    [(field, message)] = found(wanted)
    assert (field, "hf auth login" in message) == ("export.push_to", True)
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    assert found(wanted) == []
    [(field, message)] = found(msgspec.structs.replace(spec, export=ExportSpec(push_to="no name")))
    assert (field, "not a valid repository name" in message) == ("export.push_to", True)


@pytest.mark.parametrize(
    ("name", "local", "hub"),
    [
        ("unsloth/Llama-3.2-1B", False, True), ("gpt2", False, True), ("train.json", True, True),
        ("a/b/c", False, False), ("a b", False, False), ("/x", True, False), ("~/x", True, False),
        (".", True, False), ("../x", True, False), ("http://x", False, False),
        ("a..b/c", False, False), ("", False, False), ("a" * 97, False, False),
    ],
)  # fmt: skip
def test_local_paths_and_hub_ids(name: str, local: bool, hub: bool):
    assert is_local(name) == local
    assert is_hub_id(name) == hub


@pytest.mark.parametrize("kind", ["json", "jsonl", "key"])
def test_large_files_are_not_read_completely(
    spec: RunSpec, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(json_files, "MAX_DOCUMENT_BYTES", 1 << 20)
    monkeypatch.setattr(json_files, "HEAD_BYTES", (1 << 18) + 1)  # cuts a character in two
    monkeypatch.setattr(data_module, "CHECKED_BYTES", 1 << 20)
    row = json.dumps({"instruction": "你", "output": "好" * 300}, ensure_ascii=False)
    path = tmp_path / f"large.{'jsonl' if kind == 'jsonl' else 'json'}"
    with path.open("w", encoding="utf-8") as file:
        file.write({"json": "[", "key": '{"data": [', "jsonl": ""}[kind])
        for number in range(20_000):
            file.write(row + "\n" if kind == "jsonl" else (", " if number else "") + row)
        file.write({"json": "]", "key": "]}", "jsonl": ""}[kind])
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert found(dataset(spec, path)) == []
    peeked = peek(str(path), limit=5)
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 15_000  # KiB
    assert (len(peeked.rows), peeked.exact, peeked.format, peeked.error) == (5, False, "alpaca", None)
    assert 19_000 < peeked.total < 21_000


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ([{"instruction": "a", "output": ""}, {"instruction": "b", "output": None}], "dataset.output_column"),
        ([{"messages": []}, {"messages": None}], "dataset.messages_column"),
        ([{"instruction": "a", "output": ""}, {"instruction": "b", "output": "c"}], ""),
    ],
)
def test_rows_without_any_answer(spec: RunSpec, tmp_path: Path, rows: list[dict[str, object]], field: str):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    errors = check_inputs(msgspec.structs.replace(spec, dataset=DatasetSpec(path=str(path))))
    assert [error.field for error in errors] == ([field] if field else [])


@pytest.mark.parametrize(
    "field", ["model.model_name", "dataset.path", "dataset.eval_path", "dataset.mix", "training.output_dir",
              "export.copy_to", "home"],
)  # fmt: skip
@pytest.mark.parametrize("linked", [False, True])
def test_a_path_that_is_not_utf8_is_refused_in_words(
    field: str, linked: bool, spec: RunSpec, good_model: Path, good_data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A folder named in GBK: the run would end at its first checkpoint, or in "preparing"."""
    folder = tmp_path / os.fsdecode("用户".encode("gbk"))
    folder.mkdir()
    shutil.copytree(good_model, folder / "model")
    shutil.copy(good_data, folder)
    if linked:
        (tmp_path / "link").symlink_to(folder)
        folder = tmp_path / "link"
    paths: dict[str, object] = {
        "model.model_name": str(folder / "model"),
        "dataset.path": str(folder / good_data.name),
        "dataset.eval_path": str(folder / good_data.name),
        "dataset.mix": (str(folder / good_data.name),),
    }
    if field == "home":
        field = "training.output_dir"
        monkeypatch.setenv("LORIS_HOME", str(folder))
    else:
        section, key = field.split(".")
        changed = msgspec.structs.replace(getattr(spec, section), **{key: paths.get(field, str(folder))})
        spec = msgspec.structs.replace(spec, **{section: changed})
    ((where, message),) = found(spec)
    assert where == field
    assert "is not UTF-8" in message
    assert "\ufffd" in message, "it can be printed"
    with pytest.raises(SpecError):
        new_run(spec)


def test_an_engine_in_a_folder_that_is_not_utf8_says_so(spec: RunSpec, tmp_path: Path) -> None:
    """A run folder that was renamed: its events could not name its files."""
    folder = new_run(spec)
    renamed = RunFolder(folder.path.rename(tmp_path / os.fsdecode("用户".encode("gbk"))))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_spec(renamed)
