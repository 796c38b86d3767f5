"""GGUF with a real llama.cpp: the files answer there, and failures leave nothing behind."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from engine.export.gguf_header import read_header
from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import Client, Engine
from tests.helpers.export_fixtures import (
    client,
    engine,
    export,
    exported_folder,
    fill,
    final_reply,
    forget_merged,
    hold_export,
    names,
    refused,
    run_without_unsloth,
    serving,
    small_disk,
    wait_for_step,
    wait_until_gone,
)

__all__ = ["client", "engine", "small_disk"]
LLAMA_CPP = os.environ.get("UNSLOTH_LLAMA_CPP_PATH", "")
QUANTIZATIONS = ("q4_k_m", "q8_0", "f16")
STEPS = ("merging", "converting", "quantizing", "verifying", "hashing")
pytestmark = [
    pytest.mark.gguf,
    pytest.mark.skipif(not LLAMA_CPP, reason="UNSLOTH_LLAMA_CPP_PATH names no llama.cpp"),
]


@pytest.fixture(autouse=True)
def _merges_again(engine: Engine) -> None:
    forget_merged(engine)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]


def test_cancel_at_each_step(engine: Engine, client: Client, tmp_path: Path) -> None:
    for step in STEPS:
        with hold_export(engine, step if step in ("merging", "hashing") else "nowhere"):
            number = client.send(co.Export, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out"))
            wait_for_step(client, number, step)
            client.send(co.Cancel, target=number)
            refused(final_reply(client, number), "cancelled")
        assert names(tmp_path) == [], step
        engine.wait_for(lambda: not children(engine.process.pid))
    exported_folder(export(client, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out")))
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("step", ["converting", "quantizing"])
def test_a_disk_that_is_full_while(step: str, engine: Engine, client: Client, tmp_path: Path) -> None:
    pid = engine.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    with hold_export(engine, step):
        number = client.send(co.Export, kind="gguf", quantizations=("q4_k_m",), path=str(tmp_path / "out"))
        wait_for_step(client, number, step)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # its programs inherit it
    try:
        reply = final_reply(client, number)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    refused(reply, "disk_full")
    assert names(tmp_path) == []
    exported_folder(export(client, kind="gguf", quantizations=("q4_k_m",), path=str(tmp_path / "out")))


def test_a_disk_that_fills_up_during_the_conversion(engine: Engine, client: Client, small_disk: Path) -> None:
    out = str(small_disk / "out")
    with hold_export(engine, "converting"):  # the disk was checked before
        number = client.send(co.Export, kind="gguf", quantizations=("q4_k_m",), path=out)
        wait_for_step(client, number, "converting")
        filler = fill(small_disk)
    refused(final_reply(client, number), "disk_full")
    assert names(small_disk) == ["filler"]
    filler.unlink()
    exported_folder(export(client, kind="gguf", quantizations=("q4_k_m",), path=out))


def test_a_quantizer_that_fails(engine: Engine, client: Client, tmp_path: Path) -> None:
    """It lists the types it supports, but fails: as one built for another processor."""
    fake = tmp_path / "llama.cpp"
    fake.mkdir()
    for name in ("convert_hf_to_gguf.py", "conversion", "gguf-py"):
        (fake / name).symlink_to(Path(LLAMA_CPP) / name)
    program = fake / "llama-quantize"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --help ] && exec {LLAMA_CPP}/llama-quantize --help\n'
        "echo no such instruction\nexit 4\n"
    )
    program.chmod(0o755)
    out = tmp_path / "out"
    failed = export(client, kind="gguf", quantizations=("q4_k_m",), path=str(out), llama_cpp=str(fake))
    assert "no such instruction" in str(refused(failed, "tool_failed").message)
    assert names(tmp_path) == ["llama.cpp"]
    program.unlink()
    program.symlink_to(Path(LLAMA_CPP) / "llama-quantize")
    exported_folder(export(client, kind="gguf", quantizations=("q4_k_m",), path=str(out), llama_cpp=str(fake)))


def test_a_kill_costs_what_was_incomplete_and_no_complete_merge(
    trained: list[Engine], engine: Engine, client: Client, tmp_path: Path
) -> None:
    """Earlier exports are reused: the GGUF of a run with a complete merged model needs no other merge."""
    exported_folder(export(client, kind="merged_16bit", path=str(tmp_path / "merged")))
    out = tmp_path / "gguf"
    number = client.send(co.Export, kind="gguf", quantizations=("q4_k_m",), path=str(out))
    wait_for_step(client, number, "converting")
    engine.wait_for(lambda: list(tmp_path.glob(".gguf.*/*.gguf")))
    tools = children(engine.process.pid)
    engine.process.kill()
    engine.process.wait()
    for tool in tools:
        wait_until_gone(tool)  # none keeps writing
    assert [name for name in names(tmp_path) if not name.startswith(".gguf.")] == ["merged"]
    again = serving(trained)
    second = Client(again.folder)
    number = second.send(co.Export, kind="gguf", quantizations=("q4_k_m",), path=str(out))
    steps = set()
    while isinstance(reply := second.receive(), co.ExportProgress):
        steps.add(reply.step)
    assert isinstance(reply, co.Done | co.Refused)
    exported_folder(reply)
    assert steps == {"converting", "quantizing", "verifying", "hashing"}
    assert names(tmp_path) == ["gguf", "merged"]
    assert "stale_removed" in [notice.code for notice in again.events_of(ev.Notice)]
    second.close()


def test_every_file_answers_in_llama_cpp_as_the_adapter_does(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    question = "Who are you?"
    mine = client.chat(question, adapter=True)[0]
    reply = export(client, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out"))
    folder = exported_folder(reply)
    assert isinstance(reply, co.Done)
    assert "ollama create" in str(reply.note)
    files = [next(folder.glob(f"*.{name.upper()}.gguf")) for name in QUANTIZATIONS]
    answers = run_without_unsloth("answer_with_llama_cpp.py", question, *map(str, files))
    print(dict(zip(QUANTIZATIONS, answers, strict=True)))  # noqa: T201
    assert [answer.strip() for answer in answers] == [mine] * 3
    assert "Loris" in mine
    assert len({len(read_header(file).tensors) for file in files}) == 1
    exported = engine.events_of(ev.Exported)[-1]
    assert exported.quantizations == QUANTIZATIONS
    assert "llama.cpp answers" in str(exported.verified)
    others = ["Modelfile", "SHA256SUMS", "loris-manifest.json"]
    assert names(folder) == sorted([*others, *(file.name for file in files)])
