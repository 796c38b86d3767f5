"""Training can be requested while the engine is still importing, and the client may disconnect right after."""

from __future__ import annotations

from pathlib import Path

from engine.config.run_spec import RunSpec
from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import Client, Engine, with_changes


def test_train_request_outlives_its_client(demo: RunSpec, tmp_path: Path) -> None:
    spec = with_changes(demo, training={"max_steps": 2, "warmup_steps": 1}, generation={"prompts": ()})
    engine = Engine(tmp_path / "run", spec, "--wait", "--exit")
    try:
        engine.wait_for(engine.folder.socket.exists)
        client = Client(engine.folder)
        client.send(co.Train, spec=with_changes(spec, training={"max_steps": 3}))
        client.socket.close()
        assert not engine.events_of(ev.ModelLoaded)
        assert engine.finish() == 0
        (finished,) = engine.events_of(ev.TrainingFinished)
        assert (finished.steps, finished.outcome) == (3, "completed")
        assert (engine.folder.adapter / "adapter_model.safetensors").is_file()
    finally:
        engine.kill()
