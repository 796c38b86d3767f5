"""Chat, save and push by keys, on the demo, with the engine that trained it: rows 14 to 19 of the notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.client.hub_target import PushTarget
from engine.preflight.llama_cpp import find_llama_cpp
from engine.spec.run import RunSpec
from tests.engine.process import Engine, changed
from tests.hub_stub import HubStub
from tests.tui.fakes import CpuMonitor, screen_text
from tui.app import LorisApp
from tui.screens.live import LiveScreen
from tui.widgets.transcript import AnswerView

TOKEN = "hf_TypedByTheUserForThisPush0123456"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStub]:
    with HubStub() as stub:
        stub.account(TOKEN, "ann")
        yield stub


@pytest.fixture(scope="module")
def trained(hub: HubStub, demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("screens")
    spec = changed(demo, generation={"prompts": (), "max_new_tokens": 48})
    engine = Engine(folder / "run", spec, **hub.environment(folder / "hf", ""))
    engine.wait_for_stage("serving")
    yield engine
    engine.kill()


@pytest.fixture
def app(trained: Engine, demo: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LorisApp:
    """Loris, looking at the run that was trained."""
    from engine.spec.files import load_spec

    monkeypatch.setenv("LORIS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(LiveScreen, "make_monitor", CpuMonitor)
    monkeypatch.setattr("tui.screens.push.license_of", lambda model: "")
    monkeypatch.setattr("tui.screens.push.token_source", lambda: "")
    free = PushTarget("ann/mine", "ann", "", exists=False, private=True, files=0)
    monkeypatch.setattr("tui.screens.push.check_target", lambda repo, token: free)
    made = LorisApp(language="en")
    made._start = "chat"  # type: ignore[assignment]
    made.link.attach(trained.folder, load_spec(trained.folder.spec))
    while made.link.poll():
        pass
    return made


async def until(pilot: Pilot[Any], holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    for _ in range(round(seconds / 0.1)):
        await pilot.pause(0.1)
        if holds():
            return
    raise AssertionError(screen_text(pilot.app))  # type: ignore[arg-type]


def said(app: LorisApp) -> list[tuple[bool, str]]:
    return [(view.answer.adapter, view.answer.text) for view in app.screen.query(AnswerView)]


async def test_chat_save_and_push_by_keys(app: LorisApp, trained: Engine, hub: HubStub, tmp_path: Path) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        # 14: the trained answer differs from the base model's, side by side, same seed.
        await pilot.press(*"Who are you?", "ctrl+r")
        await until(pilot, lambda: len(said(app)) == 2 and app.screen._asking is None)  # type: ignore[attr-defined]
        (_, base), (_, tuned) = said(app)
        assert base
        assert "Loris" in tuned
        assert "Loris" not in base
        assert "context " in screen_text(app)

        # The raw prompt.
        await pilot.press("ctrl+o", "down", "down", "down", "enter")
        await until(pilot, lambda: "What the model is given" in screen_text(app))
        assert "Who are you?" in screen_text(app)
        await pilot.press("escape")

        # 15: the adapter to a folder of the user's.
        await pilot.press("ctrl+s")
        await until(pilot, lambda: bool(app.screen.query("#choice-adapter")))
        app.screen.query_one("#choice-adapter").focus()
        await pilot.pause(0.3)
        app.screen.query_one("#folder", Input).focus()
        await pilot.press(*str(tmp_path / "carried"), "enter")
        await until(pilot, lambda: "✓ Saved at" in screen_text(app))
        assert (tmp_path / "carried/adapter_model.safetensors").is_file()

        # 16 and 19: merged, straight into a folder of the user's.
        app.screen.query_one("#choice-merged_16bit").focus()
        await pilot.pause(0.3)
        app.screen.query_one("#folder", Input).value = str(tmp_path / "merged")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "/merged" in screen_text(app) and (tmp_path / "merged/config.json").is_file())
        await until(pilot, lambda: "✓ Saved at" in screen_text(app))
        config = json.loads((tmp_path / "merged/config.json").read_text())
        assert "quantization_config" not in config

        # 18: to the Hub, with a token that is typed.
        await pilot.press("ctrl+o")
        await until(pilot, lambda: bool(app.screen.query("#repo")))
        app.screen.query_one("#repo", Input).value = "mine"
        app.screen.query_one("#token", Input).value = TOKEN
        await until(pilot, lambda: "ann/mine is free" in screen_text(app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: f"✓ At {hub.url}/ann/mine (private)" in screen_text(app))
        files = hub.repos["model", "ann/mine"].files
        assert files["config.json"] == (tmp_path / "merged/config.json").read_bytes()
        assert "README.md" in files
    for path in trained.folder.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.gguf
async def test_gguf_by_keys(app: LorisApp, trained: Engine) -> None:
    if find_llama_cpp().status != "ready":
        pytest.skip("no llama.cpp is here")
    app._start = "save"  # type: ignore[assignment]
    async with app.run_test(size=(100, 30)) as pilot:
        app.screen.query_one("#choice-gguf").focus()
        await pilot.press("down", "right", "right", "space", "ctrl+s")
        await until(pilot, lambda: "✓ Saved at" in screen_text(app), 300)
        files = list((trained.folder.exports / "gguf-q4_k_m-q8_0").glob("*.gguf"))
        assert len(files) == 2
