"""Saving with the real engine: what is made loads elsewhere, and what goes wrong leaves nothing behind."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.spec import commands as co
from engine.spec import events as ev
from engine.spec.run import RunSpec
from tests.engine.process import ENVIRONMENT, GREEDY, PATIENCE, Client, Engine

SMALL = 1 << 20  # bytes: less than a merged demo model has, more than the engine's log
QUESTIONS = ("Who are you?", "你是谁？")


@pytest.fixture(scope="module")
def engine(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has trained the demo."""
    engine = Engine(tmp_path_factory.mktemp("exports") / "run", demo)
    engine.wait_for_stage("serving")
    yield engine
    engine.kill()


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    client = Client(engine.folder)
    yield client
    client.close()


def until(client: Client, number: int, step: str) -> None:
    """Read replies until the export is at a step."""
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.Progress) and reply.step == step:
            return
        assert not isinstance(reply, co.Done | co.Refused), (step, reply)


def ending(client: Client, number: int) -> co.Done | co.Refused:
    while True:
        reply = client.receive()
        if reply.id == number and isinstance(reply, co.Done | co.Refused):
            return reply


def export(client: Client, **fields: Any) -> co.Done | co.Refused:
    return ending(client, client.send(co.Export, **fields))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def plainly(script: str, *arguments: str) -> list[str]:
    """The answers of a fresh interpreter without Unsloth."""
    path = Path(__file__).with_name(script)
    output = subprocess.run(
        [sys.executable, str(path), *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=PATIENCE,
    ).stdout  # fmt: skip
    answers: list[str] = json.loads(output.strip().splitlines()[-1])
    return answers


def test_adapter_and_merged_model_answer_in_plain_transformers_and_peft(
    engine: Engine, client: Client, demo: RunSpec, tmp_path: Path
) -> None:
    mine = [client.chat(question, adapter=True)[0] for question in QUESTIONS]
    adapter = export(client, kind="adapter", path=str(tmp_path / "adapter"))
    assert isinstance(adapter, co.Done), adapter
    assert plainly("plain_peft_script.py", demo.model.model_name, adapter.path, *QUESTIONS) == mine
    merged = export(client, kind="merged_16bit", path=str(tmp_path / "merged"))
    assert isinstance(merged, co.Done), merged
    assert plainly("plain_script.py", merged.path, *QUESTIONS) == mine
    told = {e.kind: e for e in engine.of(ev.Exported)[1:]}
    assert "equal" in str(told["adapter"].verified)
    assert "transformers" in str(told["merged_16bit"].verified)
    for path in (adapter.path, merged.path):
        subprocess.run(
            ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=path, check=True, capture_output=True
        )
    assert (Path(merged.path) / "tokenizer.model").is_file()


@pytest.mark.parametrize("step", ["merging", "verifying", "hashing"])
def test_cancel_while(step: str, engine: Engine, client: Client) -> None:
    number = client.send(co.Export, kind="merged_16bit")
    until(client, number, step)
    client.send(co.Cancel, target=number)
    reply = ending(client, number)
    assert isinstance(reply, co.Refused)
    assert reply.code == "cancelled"
    assert names(engine.folder.exports) == []
    assert isinstance(client.chat("Who are you?", adapter=True)[1], co.Done)


def test_an_export_outlives_its_client_and_anyone_can_give_it_up(engine: Engine, client: Client) -> None:
    gone = Client(engine.folder)
    number = gone.send(co.Export, kind="merged_16bit")
    until(gone, number, "verifying")
    gone.close()
    busy = client.ask(co.Generate, messages=(), adapter=True, generation=GREEDY)
    assert isinstance(busy, co.Refused)
    assert busy.code == "busy"
    assert isinstance(client.ask(co.CancelExport), co.Done)
    engine.wait_for(lambda: engine.of(ev.StageChanged)[-1].stage == "serving")
    assert names(engine.folder.exports) == []
    assert isinstance(client.ask(co.CancelExport), co.Refused)


def test_a_disk_that_is_full_at_merge(engine: Engine, client: Client) -> None:
    """The files may not grow beyond a megabyte, which is as far as the engine's log comes."""
    pid = engine.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        reply = export(client, kind="merged_16bit")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert isinstance(reply, co.Refused)
    assert reply.code == "disk_full"
    assert names(engine.folder.exports) == []
    assert not (engine.folder.path / "_unsloth_temporary_saved_buffers").exists()


def test_places_that_cannot_be_used_and_tools_that_are_not_there(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    exists = export(client, kind="adapter", path=str(taken))
    assert isinstance(exists, co.Refused)
    assert (exists.code, exists.field) == ("path_exists", "path")
    forced = export(client, kind="adapter", path=str(taken), replace=True)
    assert isinstance(forced, co.Refused), "a file of the user's is never replaced"
    assert taken.read_text() == "mine"
    nowhere = export(client, kind="merged_16bit", path="/proc/nowhere/model")
    assert isinstance(nowhere, co.Refused)
    assert nowhere.field == "path"
    missing = export(client, kind="gguf", quantizations=("q4_k_m",), llama_cpp=str(tmp_path / "none"))
    assert isinstance(missing, co.Refused)
    assert (missing.code, missing.field) == ("llama_cpp", "llama_cpp")
    four = export(client, kind="merged_4bit")
    assert isinstance(four, co.Refused)
    assert four.code == "needs_gpu"
    assert names(engine.folder.exports) == []


def test_a_kill_at_merge_leaves_what_the_next_export_names_and_removes(
    engine: Engine, client: Client, tmp_path: Path
) -> None:
    out = str(tmp_path / "model")
    number = client.send(co.Export, kind="merged_16bit", path=out)
    until(client, number, "verifying")
    engine.process.kill()
    engine.process.wait()
    (left,) = names(tmp_path)
    assert left.startswith(".model.")
    again = Engine(engine.folder.path, None, "--serve")
    try:
        again.wait_for_stage("serving", after=len(engine.of(ev.StageChanged)))
        second = Client(again.folder)
        reply = export(second, kind="merged_16bit", path=out)
        assert isinstance(reply, co.Done), reply
        assert names(tmp_path) == ["model"]
        notice = again.of(ev.Notice)[-1]
        assert notice.code == "stale_removed"
        assert left in str(notice.message)
        second.close()
    finally:
        again.kill()
