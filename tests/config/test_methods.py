"""The registry of training methods, and the metrics of a method from the log to every screen."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from engine.config.check import build_spec, check_spec
from engine.config.fields import field_info
from engine.config.methods import METHODS, MethodSections, metric_title
from engine.config.methods.method import Method, Metric
from engine.config.run_spec import RunSpec, TrainingSpec
from engine.config.spec_files import load_spec, save_spec
from engine.dataset.detection import detect
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from engine.runs.folder import RunFolder
from tests.helpers.fake_run import training
from tui.cli.printer import step_facts
from tui.state.run_status import status_lines, status_of
from tui.widgets.facts import run_parts
from tui.widgets.status_line import progress_of


@pytest.fixture
def margins(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A preference method, registered for one test."""
    method = Method(
        title="Margins", description="", data="", memory="", preset="", kinds=("preference",),
        trainer="tests.nowhere",
        metrics=(Metric("test/margins", "Margin of the rewards"),),
        rules=lambda spec: [("training.packing", say("No."))] if spec.training.packing else [],
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "margins", method)
    return method


def test_the_registry_is_complete() -> None:
    assert tuple(METHODS) == field_info("training.method").choices
    assert set(MethodSections.__struct_fields__) <= set(METHODS)
    titles: dict[str, str] = {}
    for method in METHODS.values():
        assert method.title
        assert method.description
        assert method.kinds
        assert Path(f"{method.trainer.replace('.', '/')}.py").is_file()
        for metric in method.metrics:
            assert titles.setdefault(metric.key, metric.title) == metric.title


def test_an_unknown_method_is_an_error_at_its_field() -> None:
    spec, errors = build_spec({"training": {"method": "stf"}})
    assert spec is None
    assert [error.field for error in errors] == ["training.method"]
    assert "Did you mean sft?" in str(errors[0].message)


def test_a_spec_without_a_method_uses_sft(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("training:\n  max_steps: 7\n")
    spec = load_spec(tmp_path / "old.yaml")
    assert spec.training.method == "sft"
    save_spec(tmp_path / "old.yaml", spec)
    assert load_spec(tmp_path / "old.yaml") == spec


def test_rules_and_data_depend_on_the_method(margins: Method) -> None:
    other = RunSpec(training=TrainingSpec(method="margins", packing=True))
    assert [(error.field, str(error.message)) for error in check_spec(other)] == [("training.packing", "No.")]
    usual = RunSpec(training=TrainingSpec(packing=True))
    assert "responses only" in str(check_spec(usual)[0].message)
    pairs = [{"prompt": "Who?", "chosen": "Loris", "rejected": "Nobody"}]
    found = detect(pairs, usual.dataset, "margins")
    assert found.problem is None
    example = found.mapping.example(pairs[0])
    assert (example.pair["instruction"], example.answer) == ("Who?", "Loris")
    assert example.rejected
    assert example.rejected.answer == "Nobody"
    assert detect(pairs, usual.dataset).problem
    texts = detect([{"text": "Once."}], usual.dataset, "margins")
    assert texts.problem
    assert texts.problem.field == "dataset.format"
    assert "preference" in str(texts.problem.message)


def steps_with(*metrics: dict[str, float]) -> list[ev.AnyEvent]:
    """A run with one step for each of these metrics."""
    events, remaining = training(len(metrics)), iter(metrics)
    return [
        msgspec.structs.replace(event, metrics=next(remaining) or msgspec.UNSET)
        if isinstance(event, ev.Step)
        else event
        for event in events
    ]


def test_a_step_without_metrics_has_no_such_field() -> None:
    line = ev.encode(ev.Step(step=1, epoch=0.1, loss=1.0, learning_rate=1e-4))
    assert b"metrics" not in line
    read = ev.decode(line)
    assert isinstance(read, ev.Step)
    assert read.metrics is msgspec.UNSET
    assert RunState().metrics == {}


def test_metrics_are_shown_by_their_titles(margins: Method, tmp_path: Path) -> None:
    events = steps_with({"test/margins": 0.5}, {"test/margins": 0.75})
    state = fold(events)
    assert state.metrics == {"test/margins": 0.75}
    shown = "Margin of the rewards 0.75"
    assert shown in step_facts(state)
    assert shown in progress_of(state, alive=True, now=0.0).facts
    assert ("Margin of the rewards  ", "$foreground-muted") in run_parts(state, None)
    folder = RunFolder(tmp_path)
    folder.events.write_bytes(b"".join(ev.encode(event) for event in events))
    save_spec(folder.spec, RunSpec())
    status = status_of(folder, now=0.0)
    assert json.loads(msgspec.json.encode(status))["metrics"] == {"test/margins": 0.75}
    assert any(shown in line for line in status_lines(status))


def test_without_metrics_none_are_shown(tmp_path: Path) -> None:
    state = fold(steps_with({}))
    assert state.step
    folder = RunFolder(tmp_path)
    folder.events.write_bytes(b"".join(ev.encode(event) for event in steps_with({})))
    save_spec(folder.spec, RunSpec())
    assert "metrics" not in json.loads(msgspec.json.encode(status_of(folder, now=0.0)))
    assert str(metric_title("rewards/unknown")) == "rewards/unknown"
