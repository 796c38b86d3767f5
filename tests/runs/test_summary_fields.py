"""The quick look at a spec finds what the whole reading finds, or leaves it to that."""

from __future__ import annotations

import msgspec
import pytest

from engine.config.run_spec import DatasetSpec, ModelSpec, RunSpec
from engine.config.spec_files import save_spec
from engine.runs import summary_fields as sub
from engine.runs.folder import RunFolder
from engine.runs.summary_fields import read_summary_fields

NAMES = [
    "", "demo", "run 001", "Who are you", "2024", "1e5", "null", "yes", "No", "~", "- x", "a: b", "a #b", "it's",
    '"q"', "懒猴", " led", "tail ", "[x]", "{x}", "*a", "&a", "!t", "%d", "@a", "`", "name: x", "dataset:", "\tt",
    "a\nb",
    "a very long name " * 12, "0x1f", "12:30:00", ".5", "+1", "-1", "=", "<<", "path", "2026-11-25", "?", "|",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_is_what_was_written(folder: RunFolder, name: str) -> None:
    spec = RunSpec(
        name=name,
        description="name: no\nmodel:\n  model_name: other\n",
        model=ModelSpec(model_name=name or "m"),
        dataset=DatasetSpec(path=name or "d", prompt_template="dataset:\n  path: no\n"),
    )
    save_spec(folder.spec, spec)
    assert read_summary_fields(folder) == (name, name or "m", name or "d")
    quick = sub._by_lines(folder.spec.read_text())
    assert quick in (None, (name, name or "m", name or "d"))


def test_usual_specs_are_read_by_their_lines(folder: RunFolder) -> None:
    spec = RunSpec(name="Who are you", model=ModelSpec(model_name="unsloth/Llama-3.2-3B-Instruct-bnb-4bit"),
                   dataset=DatasetSpec(path="/home/lin/data/identity.jsonl"))  # fmt: skip
    save_spec(folder.spec, spec)
    expected = (spec.name, spec.model.model_name, spec.dataset.path)
    assert sub._by_lines(folder.spec.read_text()) == expected
    save_spec(folder.spec, msgspec.structs.replace(spec, name=""))
    assert sub._by_lines(folder.spec.read_text()) == ("", *expected[1:])


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
    ],
)
def test_specs_by_hand(folder: RunFolder, text: str, found: tuple[str, str, str]) -> None:
    folder.spec.write_text(text)
    assert read_summary_fields(folder) == found
