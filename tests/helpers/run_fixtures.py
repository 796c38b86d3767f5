"""A home of its own for every test, and a fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import launch as launching
from engine.client.launch import new_run
from engine.config.run_spec import DatasetSpec, ModelSpec, RunSpec
from engine.runs.folder import RunFolder
from tui.text import translation

FAKE_ENGINE = Path(__file__).parent / "scripts" / "fake_engine.py"


@pytest.fixture(autouse=True)
def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Empty folders for Loris, English, and none of the user's settings."""
    place = tmp_path_factory.mktemp("home")  # not in `tmp_path`, which must be empty for the test
    monkeypatch.setenv("LORIS_HOME", str(place))
    monkeypatch.setenv("LANGUAGE", "en")
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    if not request.node.get_closest_marker("gguf"):
        # Set first, so that it is restored afterwards: the export screen may set it.
        monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", "")
        monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH")
    yield place
    translation.set_language("en")


@pytest.fixture
def good_data(tmp_path: Path) -> Path:
    path = tmp_path / "good.jsonl"
    path.write_text("".join(json.dumps({"instruction": f"q{n}", "output": f"a{n}"}) + "\n" for n in range(3)))
    return path


@pytest.fixture
def good_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def spec(good_data: Path, good_model: Path) -> RunSpec:
    """A spec that passes every check on this machine."""
    return RunSpec(
        name="try", model=ModelSpec(model_name=str(good_model)), dataset=DatasetSpec(path=str(good_data))
    )


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Launch tests/helpers/scripts/fake_engine.py instead of the engine. Set FAKE_PLAY to what it must do."""
    monkeypatch.setattr(launching, "ENGINE", (str(FAKE_ENGINE),))
    monkeypatch.setenv("FAKE_PLAY", "complete")
    return monkeypatch


@pytest.fixture
def folder(home: Path, spec: RunSpec) -> RunFolder:
    return new_run(spec)
