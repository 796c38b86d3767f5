"""The plan of an export: sizes, targets, what is reused, and what is refused before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.export.plan import plan, reusable_merged
from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from engine.runs import manifest
from engine.runs.checksums import CHECKSUMS
from engine.runs.folder import RunFolder

CARD = ev.Device(kind="cuda", name="T4", total_bytes=16 << 30)
CPU = ev.Device(kind="cpu", name="CPU", total_bytes=16 << 30)


def state_of(parameters: int = 10**6, device: ev.Device = CARD, *more: ev.AnyEvent) -> RunState:
    loaded = ev.ModelLoaded(
        model_name="m", parameters=parameters, dtype="float16", load_in_4bit=True, device=device, reserved_bytes=0
    )
    saved = ev.Exported(kind="adapter", path="a", total_bytes=1000, seconds=1, adapter_sha256="abc")
    return fold([loaded, saved, *more])


def test_the_plan_counts_temporary_space(tmp_path: Path) -> None:
    folder, state = RunFolder(tmp_path / "run"), state_of()
    folder.path.mkdir()
    assert plan("adapter", "", folder, state).needed_bytes == 1000
    merged = plan("merged_16bit", "", folder, state)
    assert (merged.needed_bytes, merged.temporary_bytes, merged.error) == (2 * 10**6, 0, None)
    assert merged.target == folder.exports / "merged_16bit"
    four = plan("merged_4bit", str(tmp_path / "new"), folder, state)
    assert four.temporary_bytes == 2 * 10**6
    assert four.target == tmp_path / "new"
    assert plan("merged_4bit", str(tmp_path), folder, state).target == tmp_path / "run" / "merged_4bit"
    gguf = plan("gguf", "", folder, state, ("q8_0", "q4_k_m"))
    assert gguf.temporary_bytes == 4 * 10**6
    assert gguf.needed_bytes == pytest.approx(13.4e6 / 8, rel=0.01)
    assert plan("gguf", "", folder, state, ("f16", "q8_0")).temporary_bytes == 2 * 10**6


def test_an_earlier_export_is_the_target_and_not_a_folder_for_another(tmp_path: Path) -> None:
    """A client sends the target of its own plan: planned again, it is the same."""
    folder, state = RunFolder(tmp_path / "run"), state_of()
    own = plan("merged_16bit", "", folder, state).target
    elsewhere = plan("merged_16bit", str(tmp_path), folder, state).target
    named_so = tmp_path / "model"
    for target in (own, elsewhere, named_so):
        target.mkdir(parents=True)
        if target == named_so:
            manifest.seal_export(target)
        again = plan("merged_16bit", str(target), folder, state, replace=True)
        assert (again.target, again.exists, again.error) == (target, True, None)
        assert "is not overwritten" in str(plan("merged_16bit", str(target), folder, state).error)


def test_a_merged_model_is_reused_while_the_adapter_is_the_same(tmp_path: Path) -> None:
    made = tmp_path / "merged"
    made.mkdir()
    (made / "config.json").write_text("{}")

    def merged(digest: str) -> ev.Exported:
        return ev.Exported(kind="merged_16bit", path=str(made), total_bytes=1, seconds=1, adapter_sha256=digest)

    folder = RunFolder(tmp_path)
    assert reusable_merged(folder, state_of(1, CARD, merged("abc"))) == made
    assert reusable_merged(folder, state_of(1, CARD, merged("older"))) is None
    (made / "config.json").unlink()
    assert reusable_merged(folder, state_of(1, CARD, merged("abc"))) is None


def test_the_plan_refuses_with_a_message_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/nowhere")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    huge = plan("merged_16bit", "", folder, state_of(10**16))
    assert "disk has" in str(huge.error)
    assert huge.field == "path"
    cpu = plan("merged_4bit", "", folder, state_of(1, CPU))
    assert "needs a GPU" in str(cpu.error)
    none = plan("gguf", "", folder, state_of(), ("q4_k_m",))
    assert none.field == "llama_cpp"
    assert "UNSLOTH_LLAMA_CPP_PATH" in str(none.error)
    there = tmp_path / "there"
    there.write_text("mine")
    taken = plan("adapter", str(there), folder, state_of())
    assert taken.exists
    assert "is not overwritten" in str(taken.error)
    below = plan("adapter", str(there / "x"), folder, state_of())
    assert "is a file" in str(below.error)


def test_a_users_folder_is_not_taken_for_an_earlier_export(tmp_path: Path) -> None:
    """With a SHA256SUMS of its own: exported into, as any folder. In the place of an export: refused by name."""
    folder, state = RunFolder(tmp_path / "run"), state_of()
    folder.path.mkdir()
    mine = tmp_path / "work"
    (mine / "run" / "merged_16bit").mkdir(parents=True)
    (mine / CHECKSUMS).write_text("")
    (mine / "run" / "merged_16bit" / "thesis.pdf").write_text("mine")
    for typed in (mine, mine / "run" / "merged_16bit"):
        found = plan("merged_16bit", f"{typed}/.", folder, state, replace=True)
        assert found.target == mine / "run" / "merged_16bit"
        assert found.field == "path"
        assert "it has thesis.pdf" in str(found.error)
    adapter = plan("adapter", str(mine), folder, state, replace=True)
    assert (adapter.target, adapter.error) == (mine / "run" / "adapter", None)


def test_a_link_to_an_earlier_export_is_refused(tmp_path: Path) -> None:
    folder, state = RunFolder(tmp_path / "run"), state_of()
    folder.path.mkdir()
    (tmp_path / "real").mkdir()
    manifest.seal_export(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    found = plan("adapter", str(tmp_path / "link"), folder, state, replace=True)
    assert (found.target, found.field) == (tmp_path / "link", "path")
    assert "is a file or a link" in str(found.error)


def test_a_target_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    found = plan("adapter", str(tmp_path / os.fsdecode("用户".encode("gbk"))), folder, state_of())
    assert found.field == "path"
    assert "is not UTF-8" in str(found.error)


def test_a_whole_model_has_no_adapter_and_is_reused_if_it_has_16_bits(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.model.mkdir()
    saved = ev.Exported(kind="model", path=str(folder.model), total_bytes=5, seconds=1, adapter_sha256="def")
    state = fold([state_of().model or saved, saved])
    assert state.trained
    assert state.whole
    assert folder.result == folder.model
    for kind in ("adapter", "model"):
        assert plan(kind, "", folder, state).field == "adapter"
    assert plan("merged_16bit", "", folder, state).error is None
    for dtype, reused in (("float32", None), ("bfloat16", folder.model)):
        (folder.model / "config.json").write_text(f'{{"dtype": "{dtype}"}}')
        assert reusable_merged(folder, state) == reused
