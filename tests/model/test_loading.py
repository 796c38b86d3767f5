"""Loading a model, and rejecting a folder without one."""

from __future__ import annotations

from pathlib import Path

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.model import loading
from engine.runtime.event_writer import EventWriter
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_folder_without_a_model_is_rejected(demo: RunSpec, record: EventWriter, tmp_path: Path) -> None:
    spec = with_changes(demo, model={"model_name": str(tmp_path)}).model
    with pytest.raises(UserError) as caught:
        loading.load(spec, record)
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 2)
    assert caught.value.field
