"""Rows 14 to 19 of the notebooks by keys alone: chat, save, carry away and push, on the demo's real engine."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config.paths import LLAMA_CPP_VARIABLE
from engine.config.run_spec import RunSpec
from engine.export.gguf_header import read_header
from engine.export.llama_cpp import find_llama_cpp
from engine.runs.checksums import CHECKSUMS
from engine.runs.manifest import MANIFEST
from tests.helpers.app_on_engine import until
from tests.helpers.engine_process import ENVIRONMENT, ROOT, Engine, with_changes
from tests.helpers.fake_run import CpuMonitor, screen_text
from tests.helpers.hub_stub import HubStub
from tui.app import LorisApp
from tui.dialogs.generation import GenerationDialog
from tui.dialogs.show import PromptDialog
from tui.screens.chat import ChatScreen
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.screens.push import PushScreen
from tui.state.run_session import Answer
from tui.widgets.editors import ChoiceEditor

TOKEN = "hf_TypedByTheUserForThisPush0123456"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStub]:
    with HubStub() as stub:
        stub.account(TOKEN, "ann")
        yield stub


@pytest.fixture(scope="module")
def trained(hub: HubStub, demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The demo, trained, in a home of its own; its engine reaches the Hub's stub, and no login is there."""
    home = tmp_path_factory.mktemp("screens")
    spec = with_changes(demo, generation={"prompts": ()}, training={"save_steps": 0, "logging_steps": 10})
    engine = Engine(home / "runs" / "identity", spec, **hub.environment(home / "hf"))
    engine.wait_for_stage("serving")
    yield engine
    engine.kill()


@pytest.fixture
def app(trained: Engine, hub: HubStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LorisApp:
    """`loris attach identity`."""
    monkeypatch.setenv("LORIS_HOME", str(trained.folder.path.parents[1]))
    monkeypatch.setattr(LiveScreen, "make_monitor", CpuMonitor)
    hub.patch_process(monkeypatch, tmp_path / "hf")
    return LorisApp(language="en", run=trained.folder)


def at(pilot: Pilot[Any], screen: type[Any]) -> Callable[[], bool]:
    """Whether such a screen is in front, and takes keys."""
    return lambda: isinstance(pilot.app.screen, screen) and pilot.app.focused is not None


async def go_to(pilot: Pilot[Any], id: str, key: str = "down") -> None:
    """Press a key until the widget of this id has the focus."""
    for _ in range(20):
        if pilot.app.focused is not None and pilot.app.focused.id == id:
            return
        await pilot.press(key)
    raise AssertionError(f"{key} does not lead to {id}")


async def fill(pilot: Pilot[Any], text: str) -> None:
    """Put this in place of what is in the field in focus."""
    await pilot.press("end", "ctrl+u", *text)


def words(pilot: Pilot[Any]) -> str:
    """What is on the screen; long paths are broken over lines there, so without spaces."""
    return re.sub(r"[\s│▌▐]", "", screen_text(pilot.app))  # type: ignore[arg-type]


def answers(app: LorisApp) -> list[Answer]:
    """The last question's answers, once all are whole."""
    busy = not isinstance(app.screen, ChatScreen) or app.screen._asking is not None
    return [] if busy or not app.session.turns else app.session.turns[-1].answers


def check_sums(folder: Path) -> None:
    """Every file but the two lists themselves is in the list, with the digest that it has."""
    listed = dict(reversed(line.split("  ", 1)) for line in (folder / CHECKSUMS).read_text().splitlines())
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {CHECKSUMS, MANIFEST}
    assert set(listed) == there
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


async def test_chat_save_carry_away_and_push(app: LorisApp, trained: Engine, hub: HubStub, tmp_path: Path) -> None:
    run = trained.folder.path
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LiveScreen) and app.session.state.stage == "serving")

        # 14: with the notebooks' sampling, set by keys, the trained answer differs from the base model's.
        await pilot.press("c")
        await until(pilot, at(pilot, ChatScreen))
        await pilot.press("ctrl+g")
        await until(pilot, at(pilot, GenerationDialog))
        for value in ("64", "1.5", "0.1"):  # max_new_tokens, temperature, min_p
            await fill(pilot, value)
            await pilot.press("down")
        await pilot.press("ctrl+s")
        await until(pilot, at(pilot, ChatScreen))
        assert app.session.generation is not None
        assert "notebook · max_new_tokens 64" in screen_text(app)
        await pilot.press(*"Who are you?", "ctrl+r")
        await until(pilot, lambda: len(answers(app)) == 2)
        base, tuned = answers(app)
        assert (base.adapter, tuned.adapter) == (False, True)
        assert base.text
        assert "Loris" not in base.text
        assert "Loris" in tuned.text
        text = screen_text(app)
        assert "Loris" in text
        assert re.search(r"context \d+/\d+", text)
        kept = [json.loads(line) for path in (run / "chats").iterdir() for line in path.read_text().splitlines()]
        assert [[a["text"] for a in turn["answers"]] for turn in kept] == [[base.text, tuned.text]]
        sampled = {name: kept[0]["generation"][name] for name in ("max_new_tokens", "temperature", "min_p")}
        assert sampled == {"max_new_tokens": 64, "temperature": 1.5, "min_p": 0.1}

        # The prompt as it was trained, on demand.
        await pilot.press("ctrl+o", "down", "down", "down", "enter")
        await until(pilot, at(pilot, PromptDialog))
        assert "<|user|>Who are you?<|assistant|>" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, at(pilot, ChatScreen))

        # 15 and 19: the adapter with its tokenizer, into a folder of the user's, which is made.
        await pilot.press("ctrl+s")
        await until(pilot, at(pilot, ExportScreen))
        await go_to(pilot, "choice-adapter", "up")
        await go_to(pilot, "folder", "tab")
        await fill(pilot, str(tmp_path / "drive/adapter"))
        await pilot.press("enter")
        await until(pilot, lambda: "✓Exportedto" + str(tmp_path / "drive/adapter") in words(pilot))
        carried = tmp_path / "drive/adapter"
        check_sums(carried)
        weights = "adapter_model.safetensors"
        assert (carried / weights).read_bytes() == (trained.folder.adapter / weights).read_bytes()
        assert (carried / "tokenizer_config.json").is_file()

        # 16: merged in 16 bits, into a folder that is there: below it, by the run's name.
        await go_to(pilot, "choice-adapter", "up")
        await pilot.press("down", "enter")  # which goes on to the folder
        assert app.focused is not None
        assert app.focused.id == "folder"
        await fill(pilot, str(tmp_path / "drive"))
        await pilot.press("enter")
        merged = tmp_path / "drive/identity/merged_16bit"
        await until(pilot, lambda: f"✓Exportedto{merged}" in words(pilot))
        check_sums(merged)
        assert "quantization_config" not in json.loads((merged / "config.json").read_text())
        # Once more is refused: what is there is not replaced without a yes.
        before = (merged / "model.safetensors").stat().st_mtime_ns
        await pilot.press("enter")
        await until(pilot, lambda: "alreadyexists" in words(pilot))
        assert (merged / "model.safetensors").stat().st_mtime_ns == before

        # 18: to the Hub, private, with a token that is typed; the last saved comes first.
        await pilot.press("ctrl+o")
        await until(pilot, at(pilot, PushScreen))
        assert app.screen.query_one("#what", ChoiceEditor).value.startswith("Merged")
        await go_to(pilot, "repo")
        await fill(pilot, "mine")
        await go_to(pilot, "token")
        await pilot.press(*TOKEN)
        await until(pilot, lambda: "✓ann/mineisfree" in words(pilot))
        assert TOKEN not in words(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: f"✓At{hub.url}/ann/mine(private)" in words(pilot))
        repo = hub.repos["model", "ann/mine"]
        assert repo.private
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            assert repo.files[name] == (merged / name).read_bytes()
        assert b"library_name: transformers" in repo.files["README.md"]
    for path in (run.parents[1]).rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    assert trained.process.poll() is None

    # 15: loaded back later, by its folder alone, in a process of its own.
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"
    asked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, "chat", str(carried), "--prompt", "Who are you?", "--compare", "--json"],
        capture_output=True, text=True, timeout=240, cwd=ROOT,
        env={**ENVIRONMENT, "LORIS_HOME": str(tmp_path / "elsewhere")},
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    found = [json.loads(line) for line in asked.stdout.splitlines()]
    assert ["Loris" in one["answer"] for one in found] == [False, True]


@pytest.mark.gguf
async def test_gguf_in_four_quantisations(app: LorisApp, trained: Engine, tmp_path: Path) -> None:
    """Row 17 and 19: q4_k_m, q8_0, f16 and q5_k_m at once, with the Modelfile and the command for Ollama."""
    if find_llama_cpp().status != "ready":
        pytest.skip(f"{LLAMA_CPP_VARIABLE} names no llama.cpp")
    names = ("q4_k_m", "q5_k_m", "q8_0", "f16")
    target = tmp_path / "gguf"
    async with app.run_test(size=(100, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LiveScreen) and app.session.state.stage == "serving")
        await pilot.press("s")
        await until(pilot, at(pilot, ExportScreen))
        await go_to(pilot, "choice-gguf")
        await go_to(pilot, "quantizations", "tab")
        several = app.screen.query_one("#quantizations")
        for name in names:
            while several.choices[several.at] != name:  # type: ignore[attr-defined]
                await pilot.press("right")
            if name not in several.value:  # type: ignore[attr-defined]
                await pilot.press("space")
        assert set(several.value) == set(names)  # type: ignore[attr-defined]
        await go_to(pilot, "folder")
        await fill(pilot, str(target))
        await until(pilot, lambda: "llama.cppisthere" in words(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: f"✓Exportedto{target}" in words(pilot), 300)
        assert f"ollamacreateNAME-f{target}/Modelfile" in words(pilot)
    files = sorted(target.glob("*.gguf"))
    assert sorted(path.name.split(".")[-2].lower() for path in files) == sorted(names)
    assert len({len(read_header(path).tensors) for path in files}) == 1
    modelfile = (target / "Modelfile").read_text()
    assert "FROM ./" in modelfile
    assert "<|user|>" in modelfile
    assert 'PARAMETER stop "</s>"' in modelfile
    check_sums(target)
