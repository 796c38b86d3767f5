"""What counts as a complete checkpoint, and which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runs import manifest
from engine.runs.own_files import remove_leftovers


def sealed(folder: Path, step: int, eval_loss: float | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "weights").write_bytes(b"w" * 1000)
    (path / "deep/state").write_bytes(b"s" * 10)
    assert manifest.write_manifest(path, step, eval_loss) == 1010
    return path


def test_every_kind_of_damage_is_found(tmp_path: Path):
    sealed(tmp_path, 1)
    (sealed(tmp_path, 2) / "weights").write_bytes(b"x" * 1000)  # the right size, the wrong bytes
    (sealed(tmp_path, 3) / "deep/state").unlink()
    (sealed(tmp_path, 4) / "weights").write_bytes(b"w" * 999)
    (sealed(tmp_path, 5) / manifest.MANIFEST).write_bytes(b"{")
    (tmp_path / "checkpoint-6").mkdir()
    (tmp_path / f"{manifest.PARTIAL}checkpoint-7").mkdir()
    assert [one.step for one in manifest.list_checkpoints(tmp_path)] == [2, 1]
    found = manifest.newest_checkpoint(tmp_path)
    assert found
    assert found.step == 1
    remove_leftovers(tmp_path)
    assert not (tmp_path / f"{manifest.PARTIAL}checkpoint-7").exists()
    assert (tmp_path / "checkpoint-6").exists()


@pytest.mark.parametrize(
    ("losses", "limit", "kept"),
    [
        ((None, None, None, None), 2, (3, 4)),
        ((3.0, 1.0, 2.0, 2.5), 2, (2, 4)),
        ((3.0, 1.0, 2.0, 2.5), 3, (2, 3, 4)),
        ((3.0, 1.0, 2.0, 2.5), 1, (4,)),
        ((1.0, None, None, None), 2, (1, 4)),
        ((1.0, 1.0, 1.0, 1.0), 2, (3, 4)),
        ((1.0,), 5, (1,)),
    ],
)
def test_the_newest_and_the_best_are_kept(
    tmp_path: Path, losses: tuple[float | None, ...], limit: int, kept: tuple[int, ...]
):
    for step, loss in enumerate(losses, 1):
        sealed(tmp_path, step, loss)
    found = manifest.list_checkpoints(tmp_path)
    deleted = {one.step for one in manifest.checkpoints_to_delete(found, limit)}
    assert tuple(one.step for one in reversed(found) if one.step not in deleted) == kept
