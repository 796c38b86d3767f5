"""What is left when a run is stopped, terminated, killed or given bad input: whole processes each."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from engine.spec import commands as co
from engine.spec import events as ev
from engine.spec.files import load_spec
from engine.spec.run import RunSpec
from tests.engine.process import Client, Engine, changed


def test_terminate_leaves_a_checkpoint_and_a_later_engine_goes_on(
    demo: RunSpec, tmp_path: Path, losses: list[float]
) -> None:
    long = changed(demo, training={"save_steps": 0}, generation={"prompts": ()})
    engine = Engine(tmp_path / "run", long, "--exit")
    try:
        engine.wait_for(lambda: len(engine.of(ev.Step)) >= 3)
        engine.process.send_signal(signal.SIGHUP)  # the line drops: nothing happens
        engine.process.send_signal(signal.SIGTERM)
        assert engine.finish() == 143
    finally:
        engine.kill()
    step = engine.of(ev.Step)[-1].step
    (saved,) = engine.of(ev.CheckpointSaved)
    assert saved.step == step
    assert (Path(saved.path) / "trainer_state.json").is_file()
    assert not engine.of(ev.TrainingFinished)
    assert not engine.folder.adapter.exists()

    with engine.folder.events.open("ab") as file:
        file.write(b'{"type":"Step","torn')  # as a kill leaves it
    later = Engine(tmp_path / "run", None, "--exit")
    try:
        later.wait_for(lambda: len(later.of(ev.Step)) >= step + 2)
        client = Client(later.folder)
        assert isinstance(client.ask(co.Stop), co.Done)
        assert later.finish() == 0
    finally:
        later.kill()
    steps = later.of(ev.Step)
    assert [s.step for s in steps] == list(range(1, len(steps) + 1))
    assert all(abs(s.loss - loss) < 1e-4 for s, loss in zip(steps, losses, strict=False))
    (finished,) = later.of(ev.TrainingFinished)
    assert finished.outcome == "stopped"
    assert finished.steps == steps[-1].step < demo.training.max_steps
    assert (later.folder.adapter / "adapter_model.safetensors").is_file()


def test_a_template_without_an_end_is_refused(demo: RunSpec, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo.model.model_name, model)
    for path in (model / "tokenizer_config.json", model / "chat_template.jinja"):
        if path.exists():
            path.write_text(path.read_text().replace("+ eos_token", "").replace("eos_token }}", "'' }}"))
    engine = Engine(tmp_path / "run", changed(demo, model={"model_name": str(model)}), "--exit")
    try:
        assert engine.finish() == 2
    finally:
        engine.kill()
    (failed,) = engine.of(ev.Failed)
    assert failed.code == "eos_missing"
    assert failed.field == "dataset.chat_template"
    assert failed.hint
    assert not engine.of(ev.Step)


def test_a_spec_that_cannot_be_read_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/spec.yaml").write_text("training:\n  learning_rat: 1\n")
    engine = Engine(tmp_path / "run", None)
    assert engine.finish() == 2
    (failed,) = engine.of(ev.Failed)
    assert failed.field == "training.learning_rat"
    assert engine.of(ev.EngineEnded)[0].elapsed < 2


def test_terminate_during_the_import_ends_it_at_once(demo: RunSpec, tmp_path: Path) -> None:
    engine = Engine(tmp_path / "run", demo, cold=True)
    engine.wait_for(engine.folder.socket.exists)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.finish() == 143
    assert engine.events()[-1].elapsed < 5
    assert load_spec(engine.folder.spec) == demo
