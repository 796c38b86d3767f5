"""The screens on real engines: an app in a headless terminal, keys in, text out, and the `loris` command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.client.launch import MODE_ARGUMENTS, Mode
from engine.config.paths import runs_folder
from engine.config.run_spec import RunSpec
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.helpers import waiting
from tests.helpers.engine_process import TIMEOUT_SECONDS, Engine
from tests.helpers.fake_run import screen_text
from tui.app import LorisApp
from tui.text import translation

TRUTH_SECONDS = 5.0  # by then every screen and command must show the actual state
LORIS = Path(sys.executable).with_name("loris")


class Engines:
    """Starts engines in a home of its own, also for the screens; all are forked from a warm process."""

    def __init__(self) -> None:
        self.started: list[Engine] = []

    def start(self, name: str, spec: RunSpec | None, *flags: str, **environment: str) -> Engine:
        engine = Engine(runs_folder() / name, spec, *flags, **environment)
        self.started.append(engine)
        return engine

    def launch(self, folder: RunFolder, mode: Mode, exit_when_done: bool = False) -> Any:
        """Replaces `engine.client.launch.launch`, without the import of Unsloth."""
        return self.start(folder.name, None, *MODE_ARGUMENTS[mode]).process


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    monkeypatch.setenv("LORIS_HOME", str(tmp_path / "home"))
    translation.set_language("en")
    found = Engines()
    monkeypatch.setattr("engine.client.resume.launch", found.launch)
    yield found
    for engine in found.started:
        engine.kill()


@asynccontextmanager
async def attached(
    engine: Engine | None = None, size: tuple[int, int] = (80, 24), notifications: bool = True
) -> AsyncIterator[Pilot[None]]:
    """An app on this engine's run screen, or on Home."""
    app = LorisApp(language="en", run=engine.folder if engine else None)
    async with app.run_test(size=size, notifications=notifications) as pilot:
        yield pilot


def app_of(pilot: Pilot[None]) -> LorisApp:
    assert isinstance(pilot.app, LorisApp)
    return pilot.app


def dialog_text(pilot: Pilot[None]) -> str:
    """The text of the dialog in front, without the screen behind it."""
    box = pilot.app.screen.children[0].region
    lines = screen_text(app_of(pilot)).splitlines()[box.y + 1 : box.bottom - 1]
    return " ".join(" ".join(line[box.x + 1 : box.right - 1] for line in lines).split())


async def until(pilot: Pilot[Any], condition: Callable[[], object], seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait for a condition; engines are slow."""
    await waiting.until(pilot, condition, seconds)


async def shows(pilot: Pilot[None], *texts: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until the screen shows all of these texts."""
    await waiting.shown(pilot, *texts, seconds=seconds)


def loris(*arguments: str) -> str:
    """The output of the command in a process of its own."""
    done = subprocess.run(
        [str(LORIS), "--lang", "en", *arguments],
        env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def status(engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loris("status", engine.folder.name, "--json"))
    return found


def check_status(engine: Engine, state: str) -> dict[str, Any]:
    """`loris status --json`, which must report this state within 5 s."""
    end = time.monotonic() + TRUTH_SECONDS
    while (found := status(engine))["state"] != state:
        assert time.monotonic() < end, found
    return found


def check_folder(folder: RunFolder) -> None:
    """The folder's files are complete, and no process is left."""
    assert not is_alive(folder)
    for one in manifest.list_checkpoints(folder.checkpoints):
        assert manifest.find_fault(one.path) == ""
    if folder.adapter.exists():
        assert manifest.find_fault(folder.adapter) == ""
