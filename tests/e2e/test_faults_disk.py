"""The disk is full, or takes nothing, while a real engine trains: the last good state stays, and the rest waits."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.run_list import is_alive
from tests.helpers.engine_process import Engine
from tests.helpers.run_invariants import check_after_fault, check_status
from tests.helpers.short_run import run_to_end, small

STEPS = list(range(1, 9))


def limit(engine: Engine, size: int = resource.RLIM_INFINITY) -> None:
    """Have the kernel refuse the engine files that are larger."""
    resource.prlimit(engine.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def told(engine: Engine, code: str) -> bool:
    return any(one.code == code for one in engine.events_of(ev.Notice))


@pytest.fixture(scope="module")
def cramped(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A run that may write only small files from its first checkpoint on, with a log that grows all the while."""
    engine = Engine(tmp_path_factory.mktemp("disk") / "run", small(demo), "--exit", LORIS_FAULT="slow@0.1,say")
    try:
        engine.wait_for(lambda: engine.events_of(ev.CheckpointSaved))
        limit(engine, 40_000)
        yield engine
    finally:
        engine.kill()


def test_disk_full_at_a_checkpoint(cramped: Engine) -> None:
    cramped.wait_for(lambda: told(cramped, "checkpoint_not_saved"))
    check_after_fault(cramped, alive=True, checkpoint=2, trained=False)
    assert [one.step for one in manifest.list_checkpoints(cramped.folder.checkpoints)] == [2]


def test_disk_full_at_saving_the_adapter(cramped: Engine) -> None:
    cramped.wait_for(lambda: told(cramped, "save_waits"))
    check_after_fault(cramped, alive=True, state="saving", checkpoint=2, trained=False)
    assert not cramped.folder.adapter.exists()
    limit(cramped)  # room was made
    assert cramped.finish() == 0
    check_after_fault(cramped, state="completed", alive=False, trained=True)
    assert [step.step for step in cramped.events_of(ev.Step)] == STEPS


def test_an_adapter_that_the_disk_lost_a_part_of(cramped: Engine, demo: RunSpec) -> None:
    """It is not offered, nor served, and the run is resumed: from the newest checkpoint it is saved again."""
    weights = cramped.folder.adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    seen = check_status(
        cramped.folder, "adapter_broken", {"state": "interrupted", "trained": False, "alive": False}
    )
    assert "Resume it" in seen["failure"]["hint"]
    weights.write_bytes(
        whole[:-1] + bytes([whole[-1] ^ 1])
    )  # of the right size: the bytes are looked at to serve it
    served = run_to_end(cramped.folder.path, None, "--serve")
    assert served.finish() == 1
    assert [one.code for one in served.events_of(ev.Failed)] == ["adapter_broken"]
    weights.write_bytes(whole[:-1])
    later = run_to_end(cramped.folder.path, None, "--resume", "--exit")
    assert later.finish() == 0
    check_after_fault(later, state="completed", alive=False, trained=True)


def test_disk_full_at_an_event(demo: RunSpec, tmp_path: Path) -> None:
    """The line that does not fit is torn, and waits for room, as do those that come after it."""
    engine = Engine(tmp_path / "run", small(demo, save_steps=0, max_steps=30), "--exit", LORIS_FAULT="slow@0.1")
    try:
        engine.wait_for(lambda: engine.events_of(ev.Step))
        limit(engine, engine.folder.events.stat().st_size + 20)
        engine.wait_for(lambda: not engine.folder.events.read_bytes().endswith(b"\n"))
        seen = check_after_fault(engine, alive=True, state="training")
        assert seen["step"] < 20
        assert is_alive(engine.folder)
        limit(engine)
        assert engine.finish() == 0
    finally:
        engine.kill()
    assert [step.step for step in engine.events_of(ev.Step)] == list(range(1, 31))
    check_after_fault(engine, state="completed", alive=False, trained=True, step=30)


def test_run_folder_made_read_only(demo: RunSpec, tmp_path: Path) -> None:
    """It takes nothing new for a while, not even from root: what is there stays, and the rest is saved later."""
    engine = Engine(tmp_path / "run", small(demo), "--exit", LORIS_FAULT="slow@0.1")
    places = [str(engine.folder.path), str(engine.folder.checkpoints)]

    def protect(flag: str) -> bool:
        if subprocess.run(["chattr", flag + "i", *places], capture_output=True, check=False).returncode == 0:
            return True
        for place in places:  # no such attribute here: for anyone but root the mode does
            Path(place).chmod(0o555 if flag == "+" else 0o755)
        return not _writable(engine.folder.path)

    try:
        engine.wait_for(lambda: engine.events_of(ev.CheckpointSaved))
        if not protect("+"):
            pytest.skip("nothing here can be protected from this user")
        engine.wait_for(lambda: told(engine, "save_waits"))
        assert told(engine, "checkpoint_not_saved")
        check_after_fault(engine, alive=True, state="saving", checkpoint=2, trained=False)
        assert not engine.folder.adapter.exists()
        protect("-")
        assert engine.finish() == 0
    finally:
        protect("-")
        engine.kill()
    check_after_fault(engine, state="completed", alive=False, trained=True)


def _writable(folder: Path) -> bool:
    try:
        (folder / ".try").touch()
        (folder / ".try").unlink()
    except OSError:
        return False
    return True
