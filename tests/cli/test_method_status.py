"""What the command line shows of a training method: its name, two of its metrics, its lights, its demo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import presets
from engine.config.spec_files import save_spec
from engine.protocol.state import fold
from engine.runs.run_list import summarise
from tests.helpers import fake_run
from tests.helpers.method_runs import WITH_METRICS, fix_lights, metrics_at, spec_of, trained_by
from tests.helpers.runs_on_home import made
from tui.cli import demo, main
from tui.cli.printer import step_facts
from tui.text.method import CHOICES


@pytest.mark.parametrize("method", WITH_METRICS)
def test_status_has_all_metrics_and_lights_as_json(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_lights(monkeypatch)
    folder = made("mine", trained_by(method, fake_run.training()), method=method)
    assert main.main(["status", folder.name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == method
    assert found["full_finetuning"] is False
    assert found["metrics"] == metrics_at(method, 34)
    assert found["eval_metrics"] == metrics_at(method, 20)
    assert [light["level"] for light in found["lights"]] == ["bad", "doubtful", "good"]
    assert "over 10 steps" in found["lights"][0]["message"]


def test_status_for_people_names_the_method_and_its_lights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_lights(monkeypatch)
    folder = made("mine", trained_by("dpo", fake_run.training()), method="dpo")
    assert main.main(["status", folder.name]) == 0
    shown = capsys.readouterr().out
    assert " · DPO · " in shown
    assert "Reward margin 0.645 · Pairs told apart 1.29" in shown
    assert "Log-probability" not in shown, "the others are in the pane and in --json"
    assert "✗ nothing is learned: It is 1.29" in shown


def test_status_of_sft_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    folder = made("mine", fake_run.training())
    assert main.main(["status", folder.name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "sft"
    assert found.keys().isdisjoint({"metrics", "eval_metrics", "lights"})


@pytest.mark.parametrize("method", WITH_METRICS)
def test_a_line_of_progress_has_two_metrics_at_most(method: str) -> None:
    plain = len(step_facts(fold(fake_run.training())))
    assert len(step_facts(fold(trained_by(method, fake_run.training())))) == plain + 2


def test_ls_names_the_method_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    made("first", fake_run.training())
    assert main.main(["ls"]) == 0
    assert "METHOD" not in capsys.readouterr().out, "SFT alone needs no column"
    made("second", fake_run.training(), method="orpo")
    assert main.main(["ls"]) == 0
    heads, *rows = capsys.readouterr().out.splitlines()
    assert heads.split()[-2:] == ["MODEL", "METHOD"]
    assert [row.split()[-1] for row in rows if "second" in row] == ["ORPO"]
    assert main.main(["ls", "--json"]) == 0
    assert {one["method"] for one in json.loads(capsys.readouterr().out)} == {"sft", "orpo"}


@pytest.mark.parametrize("full", [False, True])
def test_the_list_knows_the_method_from_the_summary_and_from_the_spec(full: bool) -> None:
    folder = made("mine", fake_run.training())
    save_spec(folder.spec, spec_of("cpt", full))
    for _source in ("spec", "summary that does not fit the spec"):
        found = summarise(folder)
        assert (found.method, found.full_finetuning) == ("cpt", full)
        folder.summary.unlink(missing_ok=True)


def test_a_spec_without_a_method_is_sft() -> None:
    """As every run of an older Loris."""
    folder = made("mine", fake_run.training())
    folder.spec.write_text("model:\n  model_name: m\ndataset:\n  path: d\n", encoding="utf-8")
    found = summarise(folder)
    assert (found.model, found.method, found.full_finetuning) == ("m", "sft", False)


@pytest.fixture
def demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Demos of three methods."""
    for name in ("sft", "full", "dpo"):
        choice = CHOICES[name]
        save_spec(tmp_path / f"{choice.preset}.yaml", spec_of(choice.method, choice.full_finetuning))
    monkeypatch.setattr(presets, "shipped_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "stem"), [([], "demo"), (["sft"], "demo"), (["full"], "demo-full"), (["dpo"], "demo-dpo")]
)
def test_the_demo_of_a_method(words: list[str], stem: str, demos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(demo, "run_file", lambda path, use_cpu: asked.append(path) or 0)  # type: ignore[func-returns-value]
    assert main.main(["demo", *words]) == 0
    assert asked == [demos / f"{stem}.yaml"]


@pytest.mark.parametrize("name", ["kto", "xyz", "\x1b[31m"])
def test_a_demo_that_does_not_exist(name: str, demos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "There are: sft, full, dpo." in said
    assert "\x1b" not in said
