"""The list shows a spec's own values, with summary.json or without."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from engine.client.launch import new_run
from engine.client.resume import resume
from engine.config.change import Change
from engine.config.run_spec import DatasetSpec, ModelSpec, RunSpec
from engine.config.spec_files import save_spec
from engine.runs.folder import RunFolder
from engine.runs.summary_fields import SummaryFields, read_summary_fields, write_run_spec

NAMES = [
    "", "demo", "run 001", "Who are you", "2024", "1e5", "null", "yes", "No", "~", "- x", "a: b", "a #b", "it's",
    '"q"', "懒猴", " led", "tail ", "[x]", "{x}", "*a", "&a", "!t", "%d", "@a", "`", "name: x", "dataset:", "\tt",
    "a\nb",
    "a very long name " * 12, "0x1f", "12:30:00", ".5", "+1", "-1", "=", "<<", "path", "2026-11-25", "?", "|",
]  # fmt: skip


def found_in(folder: RunFolder) -> tuple[str, str, str]:
    found = read_summary_fields(folder)
    return found.name, found.model, found.dataset


@pytest.mark.parametrize("name", NAMES)
def test_fields_read_are_those_written(folder: RunFolder, name: str) -> None:
    spec = RunSpec(
        name=name,
        description="name: no\nmodel:\n  model_name: other\n",
        model=ModelSpec(model_name=name or "m"),
        dataset=DatasetSpec(path=name or "d", prompt_template="dataset:\n  path: no\n"),
    )
    write_run_spec(folder, spec)
    with_summary = read_summary_fields(folder)
    folder.summary.unlink()
    assert read_summary_fields(folder) == with_summary, "as an older Loris wrote it"
    assert found_in(folder) == (name, name or "m", name or "d")
    assert not folder.summary.exists(), "listing a run does not change its folder"


@pytest.fixture
def never_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(spec: bytes, sha256: str) -> SummaryFields:
        raise AssertionError("the spec was read")

    monkeypatch.setattr("engine.runs.summary_fields._from_yaml", read)


@pytest.mark.usefixtures("never_yaml")
def test_only_the_summary_is_read_even_in_a_copied_folder(folder: RunFolder, tmp_path: Path) -> None:
    write_run_spec(folder, RunSpec(name="one", model=ModelSpec(model_name="m"), dataset=DatasetSpec(path="d")))
    shutil.copytree(folder.path, tmp_path / "copy", copy_function=shutil.copyfile)
    assert found_in(RunFolder(tmp_path / "copy")) == ("one", "m", "d")


def test_every_way_to_write_a_spec_writes_the_summary(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.resume.launch", lambda folder, mode: None)
    folder = new_run(spec)
    assert found_in(folder) == ("try", spec.model.model_name, spec.dataset.path)
    resume(folder, (Change(field="name", value="again"),))
    monkeypatch.setattr("engine.runs.summary_fields._from_yaml", None)
    assert found_in(folder) == ("again", spec.model.model_name, spec.dataset.path)


def test_spec_edited_by_hand_replaces_the_summary(folder: RunFolder) -> None:
    write_run_spec(folder, RunSpec(name="one", model=ModelSpec(model_name="m"), dataset=DatasetSpec(path="d")))
    before = folder.spec.stat()
    folder.spec.write_text(folder.spec.read_text().replace("name: one", "name: two"))
    os.utime(folder.spec, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found_in(folder) == ("two", "m", "d")


@pytest.mark.parametrize("summary", ["", "{", "[]", '{"name": 1}', '{"name": "other", "spec_sha256": "0"}', "\xff"])
def test_malformed_summary_is_ignored(folder: RunFolder, summary: str) -> None:
    save_spec(folder.spec, RunSpec(name="one", model=ModelSpec(model_name="m"), dataset=DatasetSpec(path="d")))
    folder.summary.write_text(summary, "latin-1")
    assert found_in(folder) == ("one", "m", "d")


def test_spec_is_written_if_the_summary_cannot_be(folder: RunFolder) -> None:
    folder.summary.unlink()
    folder.summary.mkdir()
    write_run_spec(folder, RunSpec(name="one"))
    assert found_in(folder)[0] == "one"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model: {model_name: a}\ndataset: {path: b}\n", ("", "a", "b")),
        ("# by hand\nname: x\nmodel:\n    model_name: a\ndataset:\n  # which\n  path: b\n", ("x", "a", "b")),
        ("name: x\nmodel:\ndataset:\n  model_name: other\n  path: b\n", ("", "", "")),
        ("name: x\nmodel:\n  model_name: a\n    more\ndataset:\n  path: b\n", ("x", "a more", "b")),
        ("name: null\nmodel:\n  model_name: a\ndataset:\n  path: b\n", ("", "a", "b")),
        ("name: x\nmodel:\n  revision: ''\ndataset:\n  path: b\nlora:\n  model_name: other\n", ("", "", "")),
        ("name: [x\n", ("", "", "")),
        ("", ("", "", "")),
        ("name: [x]\nmodel:\n  model_name: a\ndataset:\n  path: b\n", ("", "a", "b")),
        ("- name\n", ("", "", "")),
        ("name: &a [*a]\nmodel: *a\n", ("", "", "")),
        ("[" * 100_000, ("", "", "")),
    ],
)
def test_specs_written_by_hand(folder: RunFolder, text: str, found: tuple[str, str, str]) -> None:
    folder.spec.write_text(text)
    assert found_in(folder) == found
