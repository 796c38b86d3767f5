"""GGUF with a real llama.cpp: what is made answers there, and what goes wrong leaves nothing behind."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from engine.preflight.gguf_file import read_head
from engine.spec import commands as co
from engine.spec import events as ev
from tests.engine.process import Client, Engine
from tests.engine.test_exports import client, ending, engine, export, names, plainly, until

__all__ = ["client", "engine"]
LLAMA_CPP = os.environ.get("UNSLOTH_LLAMA_CPP_PATH", "")
QUANTIZATIONS = ("q4_k_m", "q8_0", "f16")
pytestmark = [
    pytest.mark.gguf,
    pytest.mark.skipif(not LLAMA_CPP, reason="UNSLOTH_LLAMA_CPP_PATH names no llama.cpp"),
]


@pytest.mark.parametrize("step", ["merging", "converting", "quantizing", "verifying", "hashing"])
def test_cancel_while(step: str, engine: Engine, client: Client, tmp_path: Path) -> None:
    number = client.send(co.Export, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out"))
    until(client, number, step)
    client.send(co.Cancel, target=number)
    reply = ending(client, number)
    assert isinstance(reply, co.Refused)
    assert reply.code == "cancelled"
    assert names(tmp_path) == []


def test_a_disk_that_is_full_at_conversion(engine: Engine, client: Client, tmp_path: Path) -> None:
    number = client.send(co.Export, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out"))
    until(client, number, "converting")
    pid = engine.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    for process in (pid, *_children(pid)):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        reply = ending(client, number)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert isinstance(reply, co.Refused)
    assert reply.code == "disk_full"
    assert names(tmp_path) == []


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]


def test_a_quantizer_that_fails(engine: Engine, client: Client, tmp_path: Path) -> None:
    """It says what it can make, and then does not: as one that was built for another processor."""
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
    reply = export(client, kind="gguf", quantizations=("q4_k_m",), path=str(out), llama_cpp=str(fake))
    assert isinstance(reply, co.Refused)
    assert reply.code == "tool_failed"
    assert "no such instruction" in str(reply.message)
    assert names(tmp_path) == ["llama.cpp"]


def test_every_file_answers_in_llama_cpp_as_the_adapter_does(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    question = "Who are you?"
    mine = client.chat(question, adapter=True)[0]
    reply = export(client, kind="gguf", quantizations=QUANTIZATIONS, path=str(tmp_path / "out"))
    assert isinstance(reply, co.Done), reply
    assert "ollama create" in str(reply.note)
    files = [next(Path(reply.path).glob(f"*.{name.upper()}.gguf")) for name in QUANTIZATIONS]
    answers = plainly("gguf_script.py", question, *map(str, files))
    print(dict(zip(QUANTIZATIONS, answers, strict=True)))  # noqa: T201
    assert [answer.strip() for answer in answers] == [mine] * 3
    assert "Loris" in mine
    assert len({len(read_head(file).tensors) for file in files}) == 1
    exported = engine.of(ev.Exported)[-1]
    assert exported.quantizations == QUANTIZATIONS
    assert "llama.cpp answers" in str(exported.verified)
    assert sorted(names(Path(reply.path))) == sorted(["Modelfile", "SHA256SUMS", *(file.name for file in files)])
