"""Presets: listing, saving, finding and comparing them."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import msgspec
import pytest

from engine.config.paths import user_presets_folder
from engine.config.presets import Preset, differences, find_preset, list_presets, save_preset, shipped_folder
from engine.config.run_spec import LoraSpec, RunSpec, TrainingSpec
from engine.config.spec_error import SpecError

MINE = RunSpec(training=TrainingSpec(max_steps=9, learning_rate=1e-5))


@pytest.mark.parametrize("preset", [p for p in list_presets() if p.shipped], ids=lambda p: p.path.stem)
def test_shipped_presets_are_valid(preset: Preset):
    assert preset.error is None
    assert preset.spec
    assert preset.spec.name
    assert preset.spec.description


def test_a_saved_preset_is_found():
    path = save_preset("My 医生 run!", MINE)
    assert path.parent == user_presets_folder()
    found = find_preset("My 医生 run!")
    assert found
    assert not found.shipped
    assert found.spec == msgspec.structs.replace(MINE, name="My 医生 run!")
    assert find_preset(path.stem) == found
    assert find_preset("nothing") is None


@pytest.mark.parametrize("name", ["", "  ", "///", "..", "-"])
def test_a_name_must_give_a_file_name(name: str):
    with pytest.raises(SpecError) as caught:
        save_preset(name, MINE)
    assert caught.value.errors[0].field == "name"
    assert list_presets() == [p for p in list_presets() if p.shipped]


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", ".hidden"])
def test_a_name_cannot_leave_the_folder(name: str, home: Path):
    assert save_preset(name, MINE).parent == home / "presets"


def test_overwriting_must_be_requested():
    save_preset("a", MINE)
    with pytest.raises(SpecError, match="already exists"):
        save_preset("a", RunSpec())
    save_preset("a", RunSpec(), overwrite=True)
    found = find_preset("a")
    assert found
    assert found.spec
    assert found.spec.training.max_steps == 60


def test_the_users_preset_wins():
    shipped = [p for p in list_presets() if p.shipped]
    if not shipped:
        pytest.skip("no preset ships yet")
    save_preset(shipped[0].name, MINE)
    found = find_preset(shipped[0].name)
    assert found
    assert not found.shipped


def test_a_broken_file_is_listed_with_its_error():
    save_preset("a", MINE).write_text("training:\n  max_steps: x\n")
    found = find_preset("a")
    assert found
    assert found.spec is None
    assert found.error
    assert found.error.errors[0].line == 2


def test_differences_are_listed_per_setting():
    after = msgspec.structs.replace(MINE, name="other", lora=LoraSpec(r=8))
    assert [(d.field, d.before, d.after) for d in differences(MINE, after)] == [("lora.r", 16, 8)]
    assert differences(MINE, MINE) == []


def test_unsloth_supports_every_model_that_loris_suggests():
    """Reads the source of its list of models, because importing it takes half a minute."""
    package = importlib.util.find_spec("unsloth")
    assert package is not None
    assert package.origin is not None
    known = Path(package.origin).with_name("models").joinpath("mapper.py").read_text().lower()
    shipped = [*shipped_folder().glob("*.yaml"), *shipped_folder().glob("catalogue/*.yaml")]
    named = {name for file in shipped for name in re.findall(r"unsloth/[\w.-]+", file.read_text())}
    assert len(named) > 30
    assert [name for name in sorted(named) if f'"{name.lower()}"' not in known] == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["packing: !!bool maybe\n", "training: &t\n  <<: *t\n", "k: 1\n" * 600_000],
    ids=["a value", "a merge key", "3 MB of keys"],
)
def test_one_bad_file_does_not_hide_the_other_presets(text: str):
    """The wizard opens with them, and `loris presets` lists them."""
    save_preset("good", MINE)
    (user_presets_folder() / "bad.yaml").write_text(text)
    os.mkfifo(user_presets_folder() / "pipe.yaml")
    (user_presets_folder() / "folder.yaml").mkdir()
    (user_presets_folder() / "loop.yaml").symlink_to("loop.yaml")
    found = {p.path.stem: p.error for p in list_presets() if not p.shipped}
    assert set(found) == {"bad", "folder", "good", "loop", "pipe"}
    assert found["good"] is None


def test_another_preset_with_the_same_file_is_named():
    save_preset("my run", MINE)
    with pytest.raises(SpecError, match='"my run" already exists'):
        save_preset("my-run", MINE)
