"""A llama.cpp that misbehaves, under the real engine: stand-ins of a few lines replace it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import commands as co
from tests.helpers.engine_process import Client, Engine
from tests.helpers.export_fixtures import (
    client,
    engine,
    export,
    final_reply,
    names,
    refused,
    wait_for_step,
    wait_until_gone,
)

__all__ = ["client", "engine"]
TYPES = "usage: llama-quantize model.gguf type\\n  15  or  Q4_K_M\\n  30  or  IQ4_XS\\n"
HELP = f"printf '{TYPES}'; exit 1"
CONVERTS = """import sys  # takes --outtype
open(sys.argv[sys.argv.index("--outfile") + 1], "wb").write(b"GGUF" + bytes(4096))
"""
UNKNOWN = """import sys  # takes --outtype
print("ERROR:hf-to-gguf:Model LlamaForCausalLM is not supported")
sys.exit(1)
"""
ASKS = """# takes --outtype
print("Which model? ")
print("Thank you for", input())
"""


class StandIn:
    """A folder that passes for llama.cpp's, and a target that failed exports must not touch."""

    def __init__(self, place: Path, client: Client) -> None:
        self.folder, self.out, self._client = place / "llama.cpp", place / "out", client
        self.folder.mkdir()
        self.out.mkdir()

    def is_made_of(self, works: str = "exit 0", *, help: str = HELP, converter: str = CONVERTS) -> None:
        """`help` and `works`: what its quantiser does for --help, and to quantise $1 to $2."""
        program = self.folder / "llama-quantize"
        program.write_text(f'#!/bin/sh\nif [ "$1" = --help ]; then {help}; fi\n{works}\n')
        program.chmod(0o755)
        (self.folder / "convert_hf_to_gguf.py").write_text(converter)

    def send(self) -> int:
        return self._client.send(
            co.Export, kind="gguf", quantizations=("q4_k_m",), path=str(self.out / "m"), llama_cpp=str(self.folder)
        )

    def refuses(self, code: str, words: str) -> None:
        reply = refused(final_reply(self._client, self.send()), code)
        assert words in str(reply.message)
        assert names(self.out) == []
        if code == "llama_cpp":
            assert reply.field == "llama_cpp"


@pytest.fixture
def stand_in(client: Client, tmp_path: Path) -> StandIn:
    return StandIn(tmp_path, client)


def test_one_that_is_missing_broken_or_too_old_is_refused_before_anything_starts(stand_in: StandIn) -> None:
    stand_in.refuses("llama_cpp", "has no llama-quantize")
    stand_in.is_made_of(help="echo Illegal instruction >&2; exit 1")
    stand_in.refuses("llama_cpp", "Illegal instruction")
    stand_in.is_made_of(help="head -c 3000 /dev/urandom; exit 0")
    stand_in.refuses("llama_cpp", "cannot be run")
    stand_in.is_made_of(help="exec sleep 120")
    stand_in.refuses("llama_cpp", "no answer in 10 s")
    stand_in.is_made_of(help="echo usage; echo '  15  or  Q4_K_M'; exit 1")
    stand_in.refuses("llama_cpp", "too old")
    (stand_in.folder / "convert_hf_to_gguf.py").unlink()
    stand_in.refuses("llama_cpp", "has no convert_hf_to_gguf.py")
    stand_in.folder = stand_in.folder / "none"
    stand_in.refuses("llama_cpp", "There is no folder")


def test_a_converter_that_lacks_the_architecture_or_asks_something(stand_in: StandIn) -> None:
    stand_in.is_made_of(converter=UNKNOWN)
    stand_in.refuses("architecture_unknown", "does not support the model's architecture")
    stand_in.is_made_of(converter=ASKS)
    stand_in.refuses("tool_failed", "convert_hf_to_gguf.py failed: EOFError")


@pytest.mark.parametrize(
    ("works", "code", "words"),
    [
        ("echo this type is not for this model; exit 1", "tool_failed", "this type is not for this model"),
        ("echo failed to write; exit 1", "disk_full", "full"),
        ("kill -9 $$", "tool_killed", "memory ran out"),
        ('head -c 5000 /dev/urandom > "$2"', "verify_failed", "broken"),
        ("exit 0", "verify_failed", "broken"),
    ],
    ids=["exits 1", "no room", "is killed", "writes garbage", "writes nothing"],
)
def test_a_quantizer_that(works: str, code: str, words: str, stand_in: StandIn) -> None:
    stand_in.is_made_of(works)
    stand_in.refuses(code, words)


def test_a_quantizer_that_hangs_is_cancelled_with_all_that_it_started(
    stand_in: StandIn, engine: Engine, client: Client, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    stand_in.is_made_of(f"sleep 300 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait")
    number = stand_in.send()
    wait_for_step(client, number, "quantizing")
    engine.wait_for(pids.exists)
    client.send(co.Cancel, target=number)
    refused(final_reply(client, number), "cancelled")
    assert names(stand_in.out) == []
    for pid in pids.read_text().split():
        wait_until_gone(int(pid))
    assert isinstance(export(client, kind="adapter", path=str(stand_in.out / "after")), co.Done)
