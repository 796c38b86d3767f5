"""Waiting for an engine: who starts it, who ends it, what is reported meanwhile, and when waiting fails."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.backend import POLL_SECONDS, wait_until
from engine.client.launch import launch
from engine.client.serving import find_target, serving
from engine.config.paths import runs_folder
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Stop
from engine.protocol.events import Stage
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runs.run_list import delete_drafts, is_alive
from tui.cli.main import main

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def trained(folder: RunFolder) -> RunFolder:
    """A trained run whose engine has exited."""
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text("{}")
    write(folder, ev.EngineStarted(pid=1, hostname="here", versions={}), ev.StageChanged(stage="serving"))
    write(folder, ev.Exported(kind="adapter", path=str(folder.adapter), total_bytes=2, seconds=0))
    write(folder, ev.EngineEnded(exit_code=0))
    return folder


@pytest.fixture
def running(trained: RunFolder) -> Iterator[subprocess.Popen[bytes]]:
    """An engine of that run, started by another process."""
    process = launch(trained, "serve")
    end = time.monotonic() + 20
    while read_state(trained.events).stage != "serving":
        assert time.monotonic() < end
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def write(folder: RunFolder, *events: ev.AnyEvent) -> None:
    with folder.events.open("ab") as file:
        for event in events:
            file.write(ev.encode(event))


class RecordedStages(list[Stage]):
    """The stages reported while waiting."""

    def __call__(self, stage: Stage, _doing: str) -> None:
        self.append(stage)


async def test_engine_is_started_if_none_runs_and_ended_after(trained: RunFolder) -> None:
    stages = RecordedStages()
    async with serving(trained, stages) as (control, client):
        assert is_alive(trained)
        assert client.state.stage == "serving"
        await control.ask(Stop(id=0))
    assert not is_alive(trained)
    assert stages[0] == "starting"
    ended = read_state(trained.events).ended
    assert ended is not None
    assert ended.exit_code == 0, "asked to exit, not killed"


async def test_running_engine_is_used_and_left_running(
    trained: RunFolder, running: subprocess.Popen[bytes]
) -> None:
    stages = RecordedStages()
    async with serving(trained, stages) as (_control, client):
        assert client.state.started is not None
        assert client.state.started.pid == running.pid
    assert stages == [], "there was nothing to wait for"
    assert running.poll() is None


async def test_failed_engine_reports_message_and_hint(trained: RunFolder, fake_engine: pytest.MonkeyPatch) -> None:
    fake_engine.setenv("FAKE_PLAY", "fail")
    with pytest.raises(UserError) as found:
        async with serving(trained, RecordedStages()):
            pytest.fail("it does not answer")
    assert (found.value.message, found.value.hint) == (say("The model's files are gone."), say("Look."))
    assert not is_alive(trained)


@pytest.mark.parametrize("play", ["die", "crash"])
async def test_engine_that_dies_while_we_wait(
    play: str, trained: RunFolder, fake_engine: pytest.MonkeyPatch
) -> None:
    """After its first event, and before."""
    fake_engine.setenv("FAKE_PLAY", play)
    with pytest.raises(UserError) as found:
        async with asyncio.timeout(30), serving(trained, RecordedStages()):
            pytest.fail("it does not answer")
    assert str(found.value) == f"The engine did not start. Its log says why: {trained.log}"


async def test_engine_of_another_process_that_is_killed_is_replaced(
    trained: RunFolder, fake_engine: pytest.MonkeyPatch
) -> None:
    fake_engine.setenv("FAKE_PLAY", "slow_loading")
    other = launch(trained, "serve")
    fake_engine.setenv("FAKE_PLAY", "complete")

    def tell(stage: Stage, _doing: str) -> None:
        if stage == "loading":
            other.kill()
            other.wait()

    assert await wait_until(lambda: is_alive(trained), 20)
    async with serving(trained, tell) as (_control, client):
        assert client.state.started is not None
        assert client.state.started.pid != other.pid
    assert not is_alive(trained)


async def test_process_that_cannot_be_created(trained: RunFolder, fake_engine: pytest.MonkeyPatch) -> None:
    fake_engine.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(UserError, match="The engine could not be started: No such file or directory"):
        async with serving(trained, RecordedStages()):
            pytest.fail("there is none")


async def test_run_without_an_adapter_starts_nothing(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="No engine is running, and this run has no trained model to load"):
        async with serving(folder, RecordedStages()):
            pytest.fail("there is nothing to load")
    assert not folder.lock.exists()
    with pytest.raises(UserError) as found:
        find_target(folder.name)
    assert str(found.value) == f"The run {folder.name} has no trained model."
    assert main(["--lang", "en", "chat", folder.name, "--prompt", "Hi"]) == 2


async def test_run_in_training_cannot_export(folder: RunFolder, fake_engine: pytest.MonkeyPatch) -> None:
    fake_engine.setenv("FAKE_PLAY", "until_stop")
    process = launch(folder, "train")
    assert await wait_until(lambda: read_state(folder.events).stage == "training", 20)
    try:
        with pytest.raises(UserError, match="This run is being trained"):
            async with serving(folder, RecordedStages(), exports=True):
                pytest.fail("it trains")
        async with serving(folder, RecordedStages()) as (_control, client):
            assert client.state.stage == "training", "the engine itself refuses requests"
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("joins", [False, True])
async def test_cancelled_while_loading(joins: bool, trained: RunFolder, fake_engine: pytest.MonkeyPatch) -> None:
    """An engine that was started here is ended, another is left running."""
    fake_engine.setenv("FAKE_PLAY", "slow_loading")
    other = launch(trained, "serve") if joins else None
    assert await wait_until(lambda: is_alive(trained) == joins, 20)
    loading = asyncio.Event()

    async def chat() -> None:
        async with serving(trained, lambda stage, _doing: loading.set() if stage == "loading" else None):
            pytest.fail("it does not answer")

    task = asyncio.create_task(chat())
    await asyncio.wait_for(loading.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_alive(trained) == joins
    if other:
        assert other.poll() is None
        other.kill()
        other.wait()


async def test_other_tasks_are_not_blocked(trained: RunFolder, fake_engine: pytest.MonkeyPatch) -> None:
    fake_engine.setenv("FAKE_PLAY", "slow_loading")
    blocked = 0.0  # seconds for which another task was blocked

    async def tick() -> None:
        nonlocal blocked
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            blocked += now - before if now - before > POLL_SECONDS / 2 else 0.0
            before = now

    def tell(stage: Stage, _doing: str) -> None:
        if stage == "loading":
            loading.set_result(asyncio.create_task(tick()))

    loading: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()
    entered = asyncio.create_task(serving(trained, tell).__aenter__())
    ticking = await loading
    await asyncio.sleep(1.5)
    ticking.cancel()
    entered.cancel()
    assert blocked < 0.75
    with pytest.raises(asyncio.CancelledError):
        await entered


async def test_model_folder_gets_a_temporary_run(good_model: Path) -> None:
    assert find_target(str(good_model)) == (None, good_model)
    async with serving(None, RecordedStages(), str(good_model)) as (_control, client):
        made = client.folder
        assert made is not None
        assert is_alive(made)
        assert client.state.stage == "ready"
        assert os.listdir(runs_folder()) == [made.name]
    assert not is_alive(made)
    assert os.listdir(runs_folder()) == [], "the run is deleted"


@pytest.mark.parametrize("play", ["fail", "die", "crash"])
async def test_log_of_a_model_folder_that_fails_to_load_stays_readable(
    play: str, good_model: Path, fake_engine: pytest.MonkeyPatch
) -> None:
    """`loris chat MODEL_FOLDER` deleted its temporary run with the log that its message names."""
    fake_engine.setenv("FAKE_PLAY", play)
    with pytest.raises(UserError) as found:
        async with asyncio.timeout(30), serving(None, RecordedStages(), str(good_model)):
            pytest.fail("it does not answer")
    (name,) = os.listdir(runs_folder())
    made = RunFolder(runs_folder() / name)
    assert made.log.is_file()
    assert play == "fail" or str(made.log) in str(found.value)
    assert not is_alive(made)
    assert delete_drafts(time.time() + 7200) == ([] if play == "fail" else [made]), "a failure is kept for a week"


def test_target_that_is_neither_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match='"nothing" is neither a run nor the folder of an adapter or model'):
        find_target("nothing")


def test_chat_command_starts_and_ends_an_engine(trained: RunFolder, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "en", "chat", trained.name, "--prompt", "echo"]) == 0
    out, err = capfd.readouterr()
    assert out == "echo\n"
    assert err == "Loading the model…\n"
    assert not is_alive(trained)
