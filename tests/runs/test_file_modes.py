"""Files get the mode that the umask gives, whatever wrote them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.spec_files import write_atomically
from engine.export.atomic_folder import atomic_folder


@pytest.fixture(params=[0o022, 0o027, 0o077])
def usual(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of a new file under a umask."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_exported_file_has_one_umask_given_mode(tmp_path: Path, usual: int) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    outside.chmod(0o600)
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("{}")
        (folder / "deep").mkdir()
        for place in (folder, folder / "deep"):
            handle, weights = tempfile.mkstemp(dir=place)  # as safetensors writes them
            os.close(handle)
            Path(weights).rename(place / "model.safetensors")
        (folder / "program").write_text("#!")
        (folder / "program").chmod(0o700)
        (folder / "link").symlink_to(outside)
    model = tmp_path / "model"
    names = ("config.json", "model.safetensors", "deep/model.safetensors")
    assert [mode(model / name) for name in names] == [usual] * 3
    assert mode(model / "program") == usual | (usual & 0o444) >> 2
    assert mode(outside) == 0o600, "what a link leads to is not touched"
    assert sorted(path.name for path in model.iterdir()) == [
        "config.json", "deep", "link", "model.safetensors", "program",
    ]  # fmt: skip


def test_a_spec_or_preset_has_it_too_and_keeps_a_mode_of_its_own(tmp_path: Path, usual: int) -> None:
    path = tmp_path / "spec.yaml"
    write_atomically(path, "name: a\n")
    assert mode(path) == usual
    path.chmod(0o640)
    write_atomically(path, "name: b\n")
    assert mode(path) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["spec.yaml"]
