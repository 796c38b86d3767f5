"""A planted token is nowhere but in the engine's own environment, through a run that fails once on the way."""

from __future__ import annotations

import time
from pathlib import Path

from engine.spec import events as ev
from engine.spec.run import RunSpec
from tests.engine.process import PLANTED, Engine, changed
from tests.engine.test_faults_resume import small


def command_lines() -> bytes:
    """What any user of the machine sees of all processes."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            continue
    return found


def test_a_token_never_leaves_the_environment(demo: RunSpec, tmp_path: Path) -> None:
    spec = changed(small(demo, retry_out_of_memory=True), export={"merged_16bit": True})
    engine = Engine(tmp_path / "run", spec, "--exit", LORIS_FAULT="token,oom@4")
    seen = b""
    try:
        while engine.process.poll() is None:
            seen += command_lines()
            time.sleep(0.2)
        assert engine.finish() == 0
    finally:
        engine.kill()
    assert len(engine.of(ev.EngineStarted)) == 2, "it failed once and started over"
    assert (engine.folder.exports / "merged_16bit/config.json").is_file()
    assert b"-m\0engine" in seen, "the engine was among the processes looked at"
    assert PLANTED.encode() not in seen
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"events.jsonl", "engine.log", "spec.yaml"} <= {path.name for path in files}
    for path in files:
        assert PLANTED.encode() not in path.read_bytes(), path
