"""Exports with the real engine: they load elsewhere, and failures leave nothing behind."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import GREEDY, Client, Engine
from tests.helpers.export_fixtures import (
    client,
    engine,
    export,
    exported_folder,
    fill,
    final_reply,
    held_file,
    hold_export,
    names,
    refused,
    run_without_unsloth,
    serving,
    small_disk,
    wait_for_step,
)

__all__ = ["client", "engine", "small_disk"]
SMALL = 1 << 20  # bytes: less than a merged demo model has, more than the engine's log
QUESTIONS = ("Who are you?", "你是谁？")


def test_adapter_and_merged_model_answer_in_plain_transformers_and_peft(
    engine: Engine, client: Client, demo: RunSpec, tmp_path: Path
) -> None:
    mine = [client.chat(question, adapter=True)[0] for question in QUESTIONS]
    adapter = exported_folder(export(client, kind="adapter", path=str(tmp_path / "adapter")))
    assert run_without_unsloth("answer_with_peft.py", demo.model.model_name, str(adapter), *QUESTIONS) == mine
    merged = exported_folder(export(client, kind="merged_16bit", path=str(tmp_path / "merged")))
    assert run_without_unsloth("answer_with_transformers.py", str(merged), *QUESTIONS) == mine
    told = {e.kind: e for e in engine.events_of(ev.Exported)[1:]}
    assert "equal" in str(told["adapter"].verified)
    assert "transformers" in str(told["merged_16bit"].verified)
    assert (merged / "tokenizer.model").is_file()
    for folder in (adapter, merged):
        modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*") if path.is_file()}
        assert len(modes) == 1, "one umask-given mode for every exported file"
    compared = told["merged_16bit"].verified.values
    assert compared["share"] < 1
    assert compared["tensors"] > 30


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("adapter", ("verifying", "hashing")), ("merged_16bit", ("merging", "verifying", "hashing"))],
)
def test_cancel_at_each_step(
    kind: str, steps: tuple[str, ...], engine: Engine, client: Client, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    for step in steps:
        with hold_export(engine, step):
            number = client.send(co.Export, kind=kind, path=out)
            wait_for_step(client, number, step)
            client.send(co.Cancel, target=number)
            refused(final_reply(client, number), "cancelled")
        assert names(tmp_path) == []
        # Free at once: a client that has the reply can continue.
        assert isinstance(client.chat("Who are you?", adapter=True)[1], co.Done)
    exported_folder(export(client, kind=kind, path=out))
    assert names(tmp_path) == ["out"]


def test_an_export_outlives_its_client_and_any_client_can_cancel_it(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    gone = Client(engine.folder)
    with hold_export(engine, "verifying"):
        number = gone.send(co.Export, kind="merged_16bit", path=str(tmp_path / "out"))
        wait_for_step(gone, number, "verifying")
        gone.close()
        refused(client.ask(co.Generate, messages=(), adapter=True, generation=GREEDY), "busy")
        assert isinstance(client.ask(co.CancelExport), co.Done)
        engine.wait_for(lambda: engine.events_of(ev.StageChanged)[-1].stage == "serving")
    assert names(tmp_path) == []
    engine.wait_for(lambda: isinstance(client.ask(co.CancelExport), co.Refused))


def test_a_disk_that_is_full_at_merge(engine: Engine, client: Client, tmp_path: Path) -> None:
    """The files may not grow beyond a megabyte, which is enough for the engine's log."""
    pid = engine.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        reply = export(client, kind="merged_16bit", path=str(tmp_path / "out"))
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    refused(reply, "disk_full")
    assert names(tmp_path) == []
    assert not (engine.folder.path / "_unsloth_temporary_saved_buffers").exists()
    exported_folder(export(client, kind="merged_16bit", path=str(tmp_path / "out")))


@pytest.mark.slow
def test_a_disk_that_fills_up_during_the_merge(engine: Engine, client: Client, small_disk: Path) -> None:
    out = str(small_disk / "out")
    with hold_export(engine, "merging"):  # the disk was checked before
        number = client.send(co.Export, kind="merged_16bit", path=out)
        wait_for_step(client, number, "merging")
        filler = fill(small_disk)
    refused(final_reply(client, number), "disk_full")
    assert names(small_disk) == ["filler"]
    too_small = refused(export(client, kind="merged_16bit", path=out), "no_room")  # refused before it starts
    assert too_small.field == "path"
    filler.unlink()
    exported_folder(export(client, kind="merged_16bit", path=out))
    assert names(small_disk) == ["out"]


def test_places_that_cannot_be_used(engine: Engine, client: Client, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert refused(export(client, kind="adapter", path=str(taken)), "path_exists").field == "path"
    refused(export(client, kind="adapter", path=str(taken), replace=True), "path_exists")
    assert taken.read_text() == "mine", "a file of the user's is never replaced"
    assert refused(export(client, kind="merged_16bit", path="/proc/nowhere/model"), "no_room").field == "path"
    refused(export(client, kind="adapter", path="relative/model"), "path_relative")
    refused(export(client, kind="merged_4bit", path=str(tmp_path / "out")), "needs_gpu")
    assert names(tmp_path) == ["taken"]


def test_nothing_is_overwritten_without_a_yes(engine: Engine, client: Client, tmp_path: Path) -> None:
    mine = tmp_path / "models"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    first = exported_folder(export(client, kind="adapter", path=str(mine)))
    assert first == mine / engine.folder.name / "adapter"
    (first / "note").write_text("a note on the first one")
    refused(export(client, kind="adapter", path=str(first)), "path_exists")
    assert (first / "note").exists()
    assert exported_folder(export(client, kind="adapter", path=str(first), replace=True)) == first
    assert (first / "note").read_text() == "a note on the first one", "what the user added stays"
    kept = engine.events_of(ev.Notice)[-1]
    assert kept.code == "kept_files"
    assert str(first / "note") in str(kept.message)
    assert names(mine) == sorted(["notes.txt", engine.folder.name])
    assert names(first.parent) == ["adapter"]


def test_a_kill_leaves_what_the_next_export_names_and_removes(trained: list[Engine], tmp_path: Path) -> None:
    """In the middle of the merge, with incomplete files; then again when only the check was left."""
    out = str(tmp_path / "model")
    for step in ("merged", "verifying"):
        engine = serving(trained)
        with hold_export(engine, step):
            Client(engine.folder).send(co.Export, kind="merged_16bit", path=out)
            engine.wait_for(held_file(engine).exists)
            engine.process.kill()
            engine.process.wait()
        (left,) = names(tmp_path)  # the second has removed what the first one left
        assert left.startswith(".model.")
        assert list((tmp_path / left).glob("*.safetensors"))
    engine = serving(trained)
    client = Client(engine.folder)
    exported_folder(export(client, kind="merged_16bit", path=out))
    assert names(tmp_path) == ["model"]
    notice = engine.events_of(ev.Notice)[-1]
    assert notice.code == "stale_removed"
    assert left in str(notice.message)
    client.close()
