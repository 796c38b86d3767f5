"""The demo run, trained once by the engine and once by a plain script, shared by many tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.presets import find_preset
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS, Engine, with_changes


@pytest.fixture(scope="session")
def demo() -> RunSpec:
    """The demo preset with two test prompts, to show that they do not change the losses."""
    preset = find_preset("demo")
    if preset is None:
        pytest.skip("there is no demo preset")
    assert preset.spec, preset.error
    return with_changes(
        preset.spec,
        generation={"temperature": 0.0, "prompts": ("Who are you?", "你是谁？")},
        training={"logging_steps": 1, "save_steps": 20},
    )


@pytest.fixture(scope="session")
def held_out() -> dict[str, Any]:
    """Questions about its identity in a wording that is not in the data."""
    found: dict[str, Any] = json.loads((ROOT / "presets/demo/held_out.json").read_text())
    return found


@pytest.fixture(scope="session")
def notebook(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The plain script, training on the same spec; its last line of output has the losses."""
    path = tmp_path_factory.mktemp("notebook") / "spec.yaml"
    save_spec(path, demo)
    script = Path(__file__).parent / "scripts" / "train_without_loris.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)],
        cwd=path.parent,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def waiting(
    demo: RunSpec, notebook: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An engine with the base model loaded, waiting for the command to train."""
    engine = Engine(tmp_path_factory.mktemp("demo") / "run", demo, "--wait")
    engine.wait_for_stage("ready")
    yield engine
    engine.kill()


@pytest.fixture(scope="session")
def trained(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """Engines that serve one trained demo, the newest last; after a test killed one, another is started."""
    engine = Engine(tmp_path_factory.mktemp("trained") / "run", demo, LORIS_FAULT="hold")
    engines = [engine]
    engine.wait_for_stage("serving")
    yield engines
    engines[-1].kill()


@pytest.fixture(scope="session")
def losses(notebook: subprocess.Popen[str]) -> list[float]:
    """The plain script's loss at every step."""
    output, _ = notebook.communicate(timeout=TIMEOUT_SECONDS)
    found: list[float] = json.loads(output.strip().splitlines()[-1])
    return found
