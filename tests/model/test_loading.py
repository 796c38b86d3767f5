"""Loading a model, and rejecting a folder without one."""

from __future__ import annotations

import json
from pathlib import Path

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.model import loading
from engine.runs import manifest
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_folder_without_a_model_is_rejected(demo: RunSpec, record: EventWriter, tmp_path: Path) -> None:
    spec = with_changes(demo, model={"model_name": str(tmp_path)}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record)
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 2)
    assert caught.value.field


def flipped(folder: Path) -> Path:
    """An adapter as Loris saves one, in which a bit has flipped since."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(64))
    manifest.write_manifest(folder)
    (folder / "adapter_model.safetensors").write_bytes(bytes(63) + b"\x01")
    return folder


@pytest.mark.parametrize("way", ["of a run", "named as a folder or trained on", "the base of an adapter"])
def test_every_load_of_a_folder_with_a_manifest_checks_it(
    way: str, demo: RunSpec, record: EventWriter, tmp_path: Path
) -> None:
    folder = flipped(tmp_path / "adapter")
    name, adapter = demo.model.model_name, None
    if way == "of a run":
        adapter = folder
    elif way == "the base of an adapter":
        above = tmp_path / "above"
        above.mkdir()
        (above / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
        name = str(above)
    else:
        name = str(folder)
    spec = with_changes(demo, model={"model_name": name}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record, adapter)
    assert caught.value.code == "adapter_broken"
    assert str(folder) in str(caught.value.message)
