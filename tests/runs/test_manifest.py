"""What counts as a complete checkpoint, and which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.messages.errors import UserError
from engine.runs import manifest
from engine.runs.checksums import CHECKSUMS, FORMAT_FILE, write_checksums
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


def saved(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(1000))
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_told_wherever_loris_saved_the_folder(tmp_path: Path):
    adapter, exported = saved(tmp_path / "adapter"), saved(tmp_path / "exported")
    manifest.write_manifest(adapter)
    (exported / FORMAT_FILE).write_text("{}")
    write_checksums(exported, lambda *_: None)
    for folder in (adapter, exported):
        manifest.require_intact(folder)
        flip_a_bit(folder / "adapter_model.safetensors")
        with pytest.raises(UserError) as caught:
            manifest.require_intact(folder)
        assert caught.value.code == "adapter_broken"
        assert str(folder) in str(caught.value.message)


def test_what_others_saved_is_trusted_and_what_people_write_may_change(tmp_path: Path):
    exported, foreign = saved(tmp_path / "exported"), saved(tmp_path / "foreign")
    (exported / FORMAT_FILE).write_text("{}")
    (exported / "README.md").write_text("# A model")
    write_checksums(exported, lambda *_: None)
    (exported / "README.md").write_text("# My model")
    manifest.require_intact(exported)
    (foreign / CHECKSUMS).write_text("0" * 64 + "  adapter_model.safetensors\n")
    manifest.require_intact(foreign)
    manifest.require_intact(tmp_path)


def test_a_device_in_a_manifest_is_not_read_for_ever(tmp_path: Path):
    folder = saved(tmp_path / "adapter")
    manifest.write_manifest(folder)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.safetensors").symlink_to("/dev/zero")
    listed = (folder / manifest.MANIFEST).read_text().replace('"size":1000', '"size":0')
    (folder / manifest.MANIFEST).write_text(listed)
    with pytest.raises(UserError):
        manifest.require_intact(folder)
