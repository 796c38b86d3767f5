"""Spec files: errors with file and line, values read as written, comments kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
import yaml

from engine.config.fields import FieldError
from engine.config.run_spec import DatasetSpec, ExportSpec, GenerationSpec, ModelSpec, RunSpec, TrainingSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import add_line_numbers, load_spec, save_spec, write_atomically
from engine.messages.message import say
from tui.text.errors import describe_error


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spec.yaml"


def errors_of(file: Path, text: str) -> SpecError:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    return caught.value


def test_a_file_without_settings_is_all_defaults(file: Path):
    file.write_text("# nothing yet\n")
    assert load_spec(file) == RunSpec()


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_rejected(file: Path, text: str):
    assert str(errors_of(file, text).errors[0].message) == "This file is empty."
    save_spec(file, RunSpec())  # and may be overwritten
    assert load_spec(file) == RunSpec()


@pytest.mark.parametrize("written", ["2e-4", "0.0002", "2.0e-04", "2E-4", "'2e-4'"])
def test_learning_rate_in_any_notation(file: Path, written: str):
    file.write_text(f"training:\n  learning_rate: {written}\n")
    assert load_spec(file).training.learning_rate == 2e-4


def test_byte_order_mark_and_windows_lines(file: Path):
    file.write_bytes(b"\xef\xbb\xbftraining:\r\n  max_steps: 7\r\n")
    assert load_spec(file).training.max_steps == 7


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("a: [1\n", 2, "not valid YAML"),
        ("training:\n  max_steps: 1\n  max_steps: 2\n", 3, "duplicate key"),
        ("training:\n\tmax_steps: 1\n", 2, "not valid YAML"),
        ("# hi\ntraining:\n  # more\n  learning_rat: 1\n", 4, "Did you mean learning_rate?"),
        ("training:\n  max_steps: 3.5\n", 2, "whole number"),
        ("dataset:\n  instruction_part: Q\n", 1, "both markers"),  # not in the file: its section
        ("training: 5\n", 1, "block of settings"),
        ("- a\n", None, "mapping of settings"),
        ("just text\n", None, "mapping of settings"),
        ("1: 2\n", 1, 'Unknown setting "1"'),
        ("training:\n  2: 2\n", 2, 'Unknown setting "2"'),
        ("x: !!python/object:os.system {}\n", 1, 'Unknown setting "x"'),
    ],
)
def test_errors_have_line_numbers(file: Path, text: str, line: int | None, expected: str):
    error = errors_of(file, text)
    assert error.errors[0].line == line
    assert expected in str(error.errors[0].message)
    assert error.lines()[0].startswith(f"{file}:{line}: " if line else f"{file}: ")


def test_missing_unreadable_and_binary_files(file: Path, tmp_path: Path):
    for path in (file, tmp_path):
        with pytest.raises(SpecError):
            load_spec(path)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="UTF-8"):
        load_spec(file)


def test_all_errors_are_reported(file: Path):
    error = errors_of(file, "training:\n  max_steps: x\n  learning_rate: y\n")
    assert [e.line for e in error.errors] == [2, 3]


AWKWARD = [
    "a\r\nb", "\n x", "  lead\nx", "x \ny", "a\n\n", "a\n", "\n", "x\x85y\nz", "x\u2028y\nz", "no", "1e-05", "null",
    "~", "2024-01-01", "# c\nx", "a: b", "'", '"', "\ufeffx", "\x1b[0m\nx", "\x00", "é\n你好\u3000\nb", "---\na",
    "\tx\ny", "{instruction}\n\n", "<|start|>user\n\n", "😀\nx", "", " ", "true", "12", "%x\ny",
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD)
def test_every_text_is_read_as_written(file: Path, text: str):
    spec = RunSpec(generation=GenerationSpec(system_prompt=text, prompts=(text, "b")))
    save_spec(file, spec)
    assert load_spec(file) == spec


@pytest.mark.parametrize("rate", [1e-05, 2e-4, 1.5e-7, 1e-10, 0.1, 1.0])
def test_numbers_are_numbers_for_every_yaml_reader(file: Path, rate: float):
    save_spec(file, RunSpec(training=TrainingSpec(learning_rate=rate)))
    assert yaml.safe_load(file.read_text())["training"]["learning_rate"] == rate
    assert load_spec(file).training.learning_rate == rate


def test_comments_and_order_survive_an_edit(file: Path):
    file.write_text("# ours\ntraining:\n  max_steps: 60  # sixty\n  learning_rate: 2e-4 # as is\n# end\n")
    save_spec(file, msgspec.structs.replace(RunSpec(), training=TrainingSpec(max_steps=70)))
    text = file.read_text()
    assert text.startswith("# ours\n")
    assert "max_steps: 70" in text
    assert "# sixty" in text
    assert "learning_rate: 2e-4 # as is" in text, "an unchanged value keeps its notation"
    assert load_spec(file).training.max_steps == 70


def test_long_prompts_are_written_as_blocks(file: Path):
    save_spec(file, RunSpec())
    assert "    ### Instruction:\n" in file.read_text()


def test_a_broken_file_is_overwritten(file: Path):
    file.write_text("a: [")
    save_spec(file, RunSpec())
    assert load_spec(file) == RunSpec()


def test_dotted_paths_are_relative_to_the_file(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", "/home/me")
    save_spec(
        file,
        RunSpec(
            model=ModelSpec(model_name="./demo/model"), dataset=DatasetSpec(path="../data.json"),
            training=TrainingSpec(output_dir="~/runs"), export=ExportSpec(copy_to="plain/name"),
        ),
    )  # fmt: skip
    spec = load_spec(file)
    assert spec.model.model_name == str(tmp_path / "demo/model")
    assert spec.dataset.path == str(tmp_path.parent / "data.json")
    assert spec.training.output_dir == "/home/me/runs"
    assert spec.export.copy_to == "plain/name"


def test_line_numbers_are_added_to_later_errors(file: Path):
    file.write_text("dataset:\n  path: x.json\n")
    found = add_line_numbers(
        file, [FieldError("dataset.path", say("No.")), FieldError("export.copy_to", say("No."))]
    )
    assert [e.line for e in found] == [2, None]
    assert add_line_numbers(file.with_name("gone"), found[:1])[0].field == "dataset.path"


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(file: Path):
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert file.read_text() == "old"
    assert list(file.parent.glob(".spec*")) == []


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ALIASES, "too many values"),
        ("&all\nmodel: *all\n", "too many values"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ("name: " + "x" * (5 << 20), "too large"),
    ],
)
def test_huge_documents_are_rejected_quickly(file: Path, text: str, expected: str):
    assert expected in str(errors_of(file, text))


def test_a_notice_names_the_field_or_the_file(file: Path):
    with pytest.raises(SpecError) as missing:
        load_spec(file)
    assert describe_error(missing.value) == f"{file}: There is no such file."
    assert describe_error(errors_of(file, "lora:\n  r: x\n")).startswith("lora.r: ")
    assert describe_error(SpecError(None, [FieldError("", say("No."))])) == "No."


BAD = {
    "packing": "training:\n  packing: !!bool maybe\n",
    "merge": "training: &t\n  <<: *t\n  max_steps: 3\n",
    "merge list": "training: &t\n  <<: [*t, *t]\n",
    "merge text": "training:\n  <<: text\n",
    "merged": "lora: &l\n  zzz: 1\ntraining:\n  <<: *l\n",
    "int": "training:\n  max_steps: !!int x\n",
    "long int": "training:\n  max_steps: " + "9" * 5000 + "\n",
    "float": "training:\n  learning_rate: !!float x\n",
    "date": "name: 2026-99-99\n",
    "time": "name: !!timestamp x\n",
    "binary": "name: !!binary 'a'\n",
    "map": "name: !!map x\n",
    "set": "lora: !!set {r}\n",
    "omap": "lora: !!omap [r]\n",
    "tag": "training: !x {max_steps: !y 3}\n",
    "keys": "? [a, b]\n: 1\n? {c: d}\n: 2\n? !!binary aaa=\n: 3\n~: 4\n.nan: 5\n",
    "control": "name: 1\ndescription: \x01\n",
    "documents": "name: a\n---\nname: b\n",
    "directive": "%YAML 9.9\n---\nname: a\n",
    "version": "%YAML 1.1\n---\nname: a\n",
    "alias": "name: *nobody\n",
    "anchors": "name: &a x\ndescription: &a y\nlora: *a\n",
    "deep alias": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 300)),
    "block": "".join(" " * n + "-\n" for n in range(500)),
    "keys and more": "".join(f"key{n}: 1\n" for n in range(40_000)),
    "wide": "name: [" + "x, " * 150_000 + "]\n",
    "open": "{" * 300_000,
    "comments": "# c\n" * 120_000 + "x: 1\n",
    "choice": "training:\n  optim: " + "x" * 500_000 + "\n",
    "unknown": "".join(f"max_step{n}: 1\n" for n in range(1900)),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_every_parser_error_is_a_field_error(file: Path, text: str, capsys: pytest.CaptureFixture[str]):
    """Also what the parser does not expect itself; soon, however large; and printed in a few words."""
    file.write_text(text)
    started = time.process_time()
    errors: list[FieldError] = []
    try:
        load_spec(file)
    except SpecError as error:
        errors = error.errors
    assert all(len(str(one.message)) < 1500 for one in errors)
    assert len(errors) < 100
    assert time.process_time() - started < 4
    save_spec(file, RunSpec())
    assert load_spec(file) == RunSpec()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("packing", 2, "'maybe' is not of the type bool"),
        ("int", 2, "'x' is not of the type int"),
        ("control", 2, "special characters"),
        ("block", 31, "nested too deep"),
        ("keys and more", 2000, "too many values"),
        ("merged", 2, "zzz"),
        ("alias", 1, "undefined alias"),
    ],
)
def test_parser_errors_have_line_numbers(file: Path, name: str, line: int, expected: str):
    (first, *_) = errors_of(file, BAD[name]).errors
    assert expected in str(first.message)
    assert first.line == line


def test_a_file_that_cannot_be_read_is_kept_aside_when_a_preset_takes_its_name(file: Path):
    file.write_text("a: [ # mine")
    save_spec(file, RunSpec())
    assert file.with_name("spec.yaml.before").read_text() == "a: [ # mine"


@pytest.mark.timeout(10)
def test_a_fifo_is_no_spec(file: Path):
    os.mkfifo(file)
    with pytest.raises(SpecError, match="This is not a file"):
        load_spec(file)
