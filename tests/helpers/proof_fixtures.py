"""A spec for small datasets, and the engine's trainer for it: a plugin for two test files."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first, for it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.model import loading
from engine.proof.tokenizers import TokenizerCache
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.training import prepare, recipe
from tests.helpers.engine_process import with_changes
from tests.helpers.proof_datasets import Rows


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> EventWriter:
    return EventWriter(tmp_path_factory.mktemp("proof") / "events.jsonl")


@pytest.fixture(scope="module")
def loaded(demo: RunSpec, record: EventWriter) -> loading.Loaded:
    """The demo's model with a new adapter, which no test trains."""
    found = loading.load(demo.model, record)
    loading.add_adapter(found, demo.lora, demo.model.max_seq_length, record)
    return found


@pytest.fixture
def spec_for(demo: RunSpec, tmp_path: Path) -> Callable[..., RunSpec]:
    def make(rows: Rows | str, length: int = 512, **dataset: Any) -> RunSpec:
        path = tmp_path / "rows.jsonl"
        lines = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(lines, encoding="utf-8")
        return with_changes(demo, dataset={"path": str(path), **dataset}, model={"max_seq_length": length})

    return make


@pytest.fixture
def trainer_for(
    demo: RunSpec, loaded: loading.Loaded, record: EventWriter, tmp_path: Path
) -> Callable[[RunSpec], Any]:
    """The engine's trainer for a spec, with its rows masked and checked."""

    def make(spec: RunSpec) -> Any:
        if spec.model.model_name == demo.model.model_name:  # a copy of its tokenizer; named templates change it
            tokenizer, stops = deepcopy(loaded.tokenizer), loading.stop_ids(loaded)
        else:
            tokenizer, stops = TokenizerCache().get(spec.model)
        data = prepare.prepare(spec, tokenizer, stops, record)
        config = recipe.training_arguments(data.method, loaded, RunFolder(tmp_path), len(data.train), record)
        trainer = data.method.trainer(loaded, data, config)
        data.method.check(trainer, data, stops, record)
        return trainer

    return make
