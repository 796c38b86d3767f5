"""How Loris starts Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.runs.python_process import environment, python
from tests.helpers.engine_process import ROOT

SHOW = "import sys, tempfile; print(sys.flags.safe_path, sys.flags.utf8_mode)"


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sitecustomize", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONPATH", ":.")
    done = subprocess.run(python("-c", SHOW), cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True 1\n"), done.stderr
    again = (
        f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {SHOW!r}]))"  # as libraries do
    )
    done = subprocess.run(python("-c", again), cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True 1\n"), done.stderr


@pytest.mark.parametrize(
    ("given", "kept"), [("", ""), ("/lib", "/lib"), (":/lib", "/lib"), ("/lib::.:src:/more", "/lib:/more")]
)
@pytest.mark.parametrize("name", ["PYTHONPATH", "PATH", "LD_LIBRARY_PATH"])
def test_absolute_entries_of_search_paths_are_kept(
    name: str, given: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others mean the working directory, which may be a run folder from someone else."""
    monkeypatch.setenv(name, given)
    assert environment()[name] == kept


def test_folders_are_those_from_where_loris_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine runs in its run folder: there a relative LORIS_HOME would have the consents that came with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORIS_HOME", "mine")
    monkeypatch.setenv("UNSLOTH_COMPILE_LOCATION", "unsloth_compiled_cache")
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    found = environment()
    assert found["LORIS_HOME"] == str(tmp_path / "mine")
    assert found["UNSLOTH_COMPILE_LOCATION"] == str(tmp_path / "unsloth_compiled_cache")
    assert "TRITON_CACHE_DIR" not in found


def test_nothing_else_starts_python() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ("engine", "tui")
        for path in (ROOT / room).rglob("*.py")
        if "sys.executable" in path.read_text("utf-8")
    }
    assert found == {
        "engine/__main__.py",  # starts over
        "engine/export/build_llama_cpp.py",  # passes this Python to uv
        "engine/export/cancellation.py",  # names a program
        "engine/export/gguf.py",  # a script that imports modules next to it
        "engine/runs/python_process.py",
        "tui/cli/main.py",  # starts over
    }
