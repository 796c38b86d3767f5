"""Finding a llama.cpp, and recognizing those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.export.llama_cpp import find_llama_cpp, inspect_llama_cpp


def fake_llama_cpp(folder: Path, help_text: str, code: int = 1) -> Path:
    folder.mkdir()
    program = folder / "llama-quantize"
    program.write_text(f"#!/bin/sh\ncat <<'X'\n{help_text}\nX\nexit {code}\n")
    program.chmod(0o755)
    (folder / "convert_hf_to_gguf.py").write_text("# takes --outfile and --outtype\n")
    return folder


GOOD = "usage: llama-quantize\n  15  or  Q4_K_M  : 4.58G\n  30  or  IQ4_XS  : 4.25 bpw\n  10  or  Q2_K : 2.96G"


def test_llama_cpp_is_found_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_llama_cpp(tmp_path / "good", GOOD)
    found = inspect_llama_cpp(folder)
    assert found.status == "ready"
    assert found.lacks(("q4_k_m", "q2_k_l")) is None
    assert "q3_k_xs" in str(found.lacks(("q4_k_m", "q3_k_xs")))
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(folder))
    assert find_llama_cpp().folder == folder
    assert find_llama_cpp(str(tmp_path / "gone")).status == "missing"
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert find_llama_cpp().folder == folder


def test_llama_cpp_that_cannot_be_used_is_recognized(tmp_path: Path) -> None:
    old = inspect_llama_cpp(fake_llama_cpp(tmp_path / "old", "usage: quantize\n  2  or  Q4_0 : 3.5G"))
    assert old.status == "old"
    assert "too old" in str(old.error)
    broken = inspect_llama_cpp(
        fake_llama_cpp(tmp_path / "broken", "error while loading shared libraries: libx.so", 127)
    )
    assert broken.status == "broken"
    assert "libx.so" in str(broken.error)
    half = fake_llama_cpp(tmp_path / "half", GOOD)
    (half / "convert_hf_to_gguf.py").unlink()
    assert "convert_hf_to_gguf.py" in str(inspect_llama_cpp(half).error)
    foreign = fake_llama_cpp(tmp_path / "foreign", GOOD)
    (foreign / "llama-quantize").write_bytes(b"\x7fELF nonsense")
    assert inspect_llama_cpp(foreign).status == "broken"
