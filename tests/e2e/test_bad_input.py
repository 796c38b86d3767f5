"""Engines that are given bad input: whole processes each."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.config.run_spec import RunSpec
from engine.protocol import events as ev
from tests.helpers.engine_process import Engine, with_changes


def test_a_template_without_an_end_is_refused(demo: RunSpec, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo.model.model_name, model)
    for path in (model / "tokenizer_config.json", model / "chat_template.jinja"):
        if path.exists():
            path.write_text(path.read_text().replace("+ eos_token", "").replace("eos_token }}", "'' }}"))
    engine = Engine(tmp_path / "run", with_changes(demo, model={"model_name": str(model)}), "--exit")
    try:
        assert engine.finish() == 2
    finally:
        engine.kill()
    (failed,) = engine.events_of(ev.Failed)
    assert failed.code == "eos_missing"
    assert failed.field == "dataset.chat_template"
    assert failed.hint
    assert not engine.events_of(ev.Step)


def test_a_spec_that_cannot_be_read_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/spec.yaml").write_text("training:\n  learning_rat: 1\n")
    engine = Engine(tmp_path / "run", None)
    assert engine.finish() == 2
    (failed,) = engine.events_of(ev.Failed)
    assert failed.field == "training.learning_rat"
    assert engine.events_of(ev.EngineEnded)[0].elapsed < 2
