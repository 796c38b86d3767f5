"""The SHA256SUMS file of an export."""

from __future__ import annotations

import subprocess
from pathlib import Path

from engine.runs.checksums import CHECKSUMS, write_checksums


def test_sha256sum_accepts_the_checksums(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "一.bin").write_bytes(b"\0" * (3 << 20))
    (tmp_path / "b").write_text("b")
    ticks: list[tuple[str, int, int]] = []
    write_checksums(tmp_path, lambda *all: ticks.append(all))
    assert ticks[-1] == ("sub/一.bin", (3 << 20) + 1, (3 << 20) + 1)
    subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "b").write_text("c")
    assert subprocess.run(["sha256sum", "--check", CHECKSUMS], cwd=tmp_path, capture_output=True).returncode == 1
