"""llama.cpp's converter is a script that imports modules next to it: the only Python that starts without -P."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import unsloth  # noqa: F401  # before what it changes

from engine.export import gguf
from engine.export.llama_cpp import LlamaCpp


def test_it_imports_nothing_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, llama_cpp = tmp_path / "here", tmp_path / "llama.cpp"
    for folder in (here, llama_cpp):
        folder.mkdir()
        (folder / "conversion.py").write_text(f"PLACE = {folder.name!r}")
    (here / "torch.py").write_text("")
    program = "import conversion, sys; from importlib.util import find_spec; torch = find_spec('torch').origin\n"
    program += "open(sys.argv[3], 'w').write(f'{conversion.PLACE} {torch} {sys.flags.utf8_mode}')"
    (llama_cpp / "convert.py").write_text(program)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as every engine has it
    monkeypatch.setattr(gguf, "count_parameters", lambda model: (0, 0))
    work: Any = SimpleNamespace(
        step=lambda *_: None, cancelled=lambda: False, loaded=SimpleNamespace(model=None, dtype="float16")
    )
    found = LlamaCpp("ready", llama_cpp, converter=llama_cpp / "convert.py")
    made = gguf.export_gguf(work, tmp_path, tmp_path, "m", ("f16",), found)["f16"].read_text()
    torch = importlib.util.find_spec("torch")
    assert torch
    assert made == f"llama.cpp {torch.origin} 1"
