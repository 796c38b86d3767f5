"""Unpacks run folders of older versions (see tests/fixtures/old_runs) on this machine.

Has its own code for the old formats, so that the product's readers are tested on the older version's files.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

ARCHIVES = Path(__file__).parents[1] / "fixtures" / "old_runs"
ROOT = Path(__file__).parents[2]
DEMO = ROOT / "presets" / "demo"
MANIFEST, CHECKSUMS = "loris-manifest.json", "SHA256SUMS"


def boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def unpack(name: str, runs: Path, *, host: str | None = None, boot: str | None = None) -> Path:
    """Unpack an old run as if it had been made here; returns its folder.

    `host`, `boot`: of another machine, to pretend it was made there.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with lzma.open(ARCHIVES / f"{name}.tar.xz") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
        tar.extractall(runs, filter="data")
    words = {
        "@RUNS@": str(runs),
        "@MODEL@": str(DEMO / "model"),
        "@DATA@": str(DEMO / "identity.jsonl"),
        "@LORIS@": str(ROOT),
        "@HOST@": os.uname().nodename if host is None else host,
        "@BOOT@": boot_id() if boot is None else boot,
        "@SOCKETS@": os.path.join(tempfile.gettempdir(), f"loris-{os.getuid()}"),
    }
    filled = {path for path in (runs / name).rglob("*") if path.is_file() and _fill(path, words)}
    for path in filled:
        _seal_again(path)
    return runs / name


def _fill(path: Path, words: dict[str, str]) -> bool:
    """Replace placeholders; returns whether the file had any."""
    try:
        before = text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    if text != before:
        path.write_bytes(text.encode("utf-8"))
    return text != before


def _seal_again(path: Path) -> None:
    """Update the file's line in the manifest or checksums next to it; other lines stay as written."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    manifest, checksums = path.with_name(MANIFEST), path.with_name(CHECKSUMS)
    if manifest.exists():
        values: dict[str, Any] = json.loads(manifest.read_bytes())
        assert path.name in values["files"], path
        values["files"][path.name] = {"size": len(data), "sha256": digest}
        manifest.write_text(json.dumps(values, separators=(",", ":")), "utf-8")
    if checksums.exists():
        lines = checksums.read_text("utf-8").splitlines()
        kept = [line for line in lines if not line.endswith(f"  {path.name}")]
        assert len(kept) == len(lines) - 1, path
        checksums.write_text("".join(f"{line}\n" for line in [*kept, f"{digest}  {path.name}"]), "utf-8")
