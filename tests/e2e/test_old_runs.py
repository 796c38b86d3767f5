"""Runs of an older Loris, in every state that one can be left in: they open, resume and export as they did."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from engine.config.paths import runs_folder
from engine.prompting.format_file import read_prompt_format
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from tests.helpers import old_runs
from tests.helpers.app_on_engine import Engines, engines, shows
from tests.helpers.engine_process import Client, Engine
from tests.helpers.fake_run import CpuMonitor
from tests.helpers.run_invariants import check_files
from tui.app import LorisApp
from tui.cli.main import main
from tui.screens.live import LiveScreen

__all__ = ["engines"]  # a fixture

# What `loris status --json` of the version that made them said, and what its screen showed.
STATES: dict[str, dict[str, object]] = {
    "finished": {
        "state": "completed", "step": 6, "total_steps": 6, "checkpoint": 6, "trained": True, "exit_code": 0,
    },
    "interrupted": {
        "state": "interrupted", "step": 5, "total_steps": 8, "checkpoint": 4, "trained": False, "exit_code": 137,
    },
    "failed": {
        "state": "failed", "step": 5, "total_steps": 8, "checkpoint": 4, "trained": False, "exit_code": 1,
    },
    "stopped": {
        "state": "stopped", "step": 4, "total_steps": 8, "checkpoint": 4, "trained": True, "exit_code": 0,
        "title": "An old title", "note": "an old note",
    },
    "exported": {
        "state": "completed", "step": 4, "total_steps": 4, "checkpoint": 4, "trained": True, "exit_code": 0,
    },
}  # fmt: skip
LOSSES = {
    "finished": 4.842454, "interrupted": 6.877854, "failed": None, "stopped": 0.013556, "exported": 0.013556,
}  # fmt: skip
FAILURES = {"failed": "diverged", "interrupted": "killed"}
EXPORTS = {"finished": ["adapter"], "stopped": ["adapter"], "exported": ["adapter", "merged_16bit", "adapter"]}
SCREENS = {
    "finished": "Finished",
    "interrupted": "The engine is gone",
    "failed": "Failed",
    "stopped": "Stopped early, model kept",
    "exported": "Finished",
}
# The losses of all that have 8 steps, from the first to the last, as the older version had them without a break.
COURSE = [3.572463, 6.808773, 3.363220, 0.013556, 6.877854, 4.598253, 1.157797, 3.598434]


@pytest.fixture
def run(engines: Engines, request: pytest.FixtureRequest) -> RunFolder:
    """An old run in this home, which has no other."""
    return RunFolder(old_runs.unpack(request.param, runs_folder()))


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", names, indirect=True)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main(["--lang", "en", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def status(capsys: pytest.CaptureFixture[str], run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = printed(capsys, "status", run.name)
    return found


def served(engines: Engines, run: RunFolder) -> Engine:
    """An engine that answers for an old run."""
    return serving(engines.start(run.name, None, "--serve"))


def serving(engine: Engine) -> Engine:
    """The engine, once it is done with all but answering; what an older one did is in the events too."""
    engine.wait_for(
        lambda: any(isinstance(e, ev.StageChanged) and e.stage == "serving" for e in since_start(engine))
    )
    return engine


def since_start(engine: Engine) -> list[ev.AnyEvent]:
    """What this engine has reported itself."""
    events = engine.events()
    starts = [number for number, event in enumerate(events) if isinstance(event, ev.EngineStarted)]
    earlier = 2 if engine.folder.name == "exported" else 1
    return events[starts[-1] :] if len(starts) > earlier else []


def dismissed(engine: Engine) -> None:
    client = Client(engine.folder)
    client.send(co.Shutdown)
    assert engine.finish() == 0
    client.close()


@pytest.mark.parametrize("name", STATES)
def test_nothing_in_them_is_of_the_machine_that_made_them(name: str) -> None:
    raw = lzma.decompress((old_runs.ARCHIVES / f"{name}.tar.xz").read_bytes())
    for word in (b"/root", b"/home", b"/work", b"/tmp/", b"hf_"):
        assert word not in raw


@each(*STATES)
def test_every_event_is_read_whole(run: RunFolder) -> None:
    for line in run.events.read_bytes().splitlines():
        event = ev.decode(line)
        assert event is not None, line
        written, read = json.loads(line), json.loads(ev.encode(event))
        assert written.items() <= read.items(), "a newer version may know more, and never less"


@each(*STATES)
def test_it_is_listed_and_tells_its_state(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = printed(capsys, "ls")
    seen = status(capsys, run)
    wanted = STATES[run.name]
    assert {key: seen[key] for key in wanted} == wanted
    assert {key: row[key] for key in wanted if key in row} == {k: v for k, v in wanted.items() if k in row}
    assert (seen["alive"], row["alive"], row["path"]) == (False, False, str(run.path))
    assert seen["loss"] == row["loss"] == pytest.approx(LOSSES[run.name], abs=1e-6)
    assert seen["eval_loss"] > 0
    assert (seen["failure"] and seen["failure"]["code"]) == FAILURES.get(run.name)
    assert seen["seconds"] > seen["training_seconds"] > 0
    assert main(["--lang", "en", "logs", run.name]) == 0
    assert "Unsloth (CPU): LlamaForCausalLM" in capsys.readouterr().out
    if run.name != "exported":  # whose merged weights were left out
        check_files(run)


def test_one_that_was_carried_here_says_so(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(old_runs.unpack("interrupted", runs_folder(), host="far-away", boot="of-another-machine"))
    failure = status(capsys, run)["failure"]
    assert failure["code"] == "other_machine"
    assert "far-away" in failure["message"]


@each(*STATES)
async def test_the_screen_shows_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveScreen, "make_monitor", CpuMonitor)
    app = LorisApp(language="en", run=run)
    wanted, loss = STATES[run.name], LOSSES[run.name]
    async with app.run_test(size=(120, 36)) as pilot:
        await shows(pilot, SCREENS[run.name], seconds=30)
        if run.name in FAILURES:
            await shows(pilot, "Resume it" if run.name == "interrupted" else "Lower the learning rate", seconds=30)
            await pilot.press("escape")
        step = f"step {wanted['step']}/{wanted['total_steps']}"
        await shows(pilot, step, "loss nan" if loss is None else f"loss {loss:.4f}", seconds=30)
        assert [export.kind for export in app.session.state.exports] == EXPORTS.get(run.name, [])
        if run.name == "finished":
            await pilot.press("p")  # what it answered at each checkpoint
            await shows(pilot, "step 4 · 0.0136", "I am a talking to here?", "I am a small language", seconds=30)


@each("interrupted", "failed", "stopped")
def test_it_is_gone_on_with(run: RunFolder, engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    """From its checkpoint to the end, with the losses that it would have had there."""
    step = STATES[run.name]["checkpoint"]
    assert isinstance(step, int)
    assert main(["--lang", "en", "resume", run.name]) == 0
    assert f"Resumed from step {step}." in capsys.readouterr().out
    engine = serving(engines.started[-1])
    new = since_start(engine)
    assert [e.step for e in new if isinstance(e, ev.Resumed)] == [step]
    losses = {e.step: e.loss for e in new if isinstance(e, ev.Step)}
    assert losses == pytest.approx(dict(list(enumerate(COURSE, 1))[step:]), rel=1e-2)
    dismissed(engine)
    seen = status(capsys, run)
    wanted = {"state": "completed", "step": 8, "checkpoint": 8, "trained": True, "failure": None}
    assert {key: seen[key] for key in wanted} == wanted
    check_files(run)


@each("finished", "exported")
def test_its_adapter_is_exported_and_checked(
    run: RunFolder, engines: Engines, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine = served(engines, run)
    answer = [e.answer for e in engine.events_of(ev.Answered) if e.adapter][-1]
    assert main(["--lang", "en", "chat", run.name, "--prompt", "Who are you?"]) == 0
    assert answer in capsys.readouterr().out
    assert main(["--lang", "en", "export", run.name, "--adapter", "--to", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "its logits are equal to those of the model in memory" in out
    for name in ("adapter_model.safetensors", "loris.json"):
        assert (tmp_path / "out" / name).read_bytes() == (run.adapter / name).read_bytes()
    style = read_prompt_format(run.adapter)
    assert style is not None
    assert style.format == "messages"
    if run.name == "exported":
        assert main(["--lang", "en", "export", run.name, "--adapter"]) == 0
        assert f"Exported before to {run.exports / 'adapter'}" in capsys.readouterr().out
    dismissed(engine)
    assert status(capsys, run)["state"] == "completed"


@each("exported")
def test_it_knows_what_it_exported(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights of the merged model were left out of the fixture: that is seen, and said."""
    assert main(["--lang", "en", "export", run.name, "--merged-16bit"]) == 2
    told = capsys.readouterr().err
    assert f"The export at {run.exports / 'merged_16bit'} is damaged (model.safetensors)" in told
