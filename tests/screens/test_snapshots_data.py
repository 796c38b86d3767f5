"""Pictures of the dataset and proof screens, in both languages and sizes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config.run_spec import DatasetSpec, RunSpec
from engine.hub.errors import HubError
from engine.hub.search import SearchResult
from engine.messages.message import say
from tests.helpers.fake_prover import FAILED, MEASURING, REPORT, STOPPED, FakeProver
from tests.helpers.waiting import until
from tests.helpers.wizard_driver import RecordingBackend, settle, wizard
from tui.app import LorisApp
from tui.dialogs import dataset as dataset_dialogs
from tui.dialogs.dataset import HubDialog, MappingDialog
from tui.plots.length_plot import LengthPlot
from tui.screens import dataset
from tui.screens.dataset import DatasetScreen
from tui.screens.proof import ProofScreen
from tui.state.draft import Draft
from tui.widgets.problem_list import ProblemList

SIZES = [(80, 24), (120, 36)]
LANGUAGES = ["en", "zh"]
ODD = [
    {"title": "Lorises", "body": "What do they eat?", "answer": "Gum and insects.", "score": 3},
    {"title": "树", "body": "它们住在哪里？", "answer": "树上。", "score": 5},
]
FOUND = [
    SearchResult("yahma/alpaca-cleaned", 123456, 500, False, False, "2025-04-10", ""),
    SearchResult("mlabonne/FineTome-100k", 34567, 400, False, True, "2025-01-10", ""),
    SearchResult("ann/[red]private[/]", 3, 0, True, False, "2025-01-09", ""),
]
Step = Callable[[Pilot[None]], Awaitable[None]]


def refused(_query: str) -> list[SearchResult]:
    raise HubError("hub_offline", say("The Hugging Face Hub cannot be reached."), say("Try again in a moment."))


async def as_it_opens(pilot: Pilot[None]) -> None:
    await settle(pilot)


async def no_data(pilot: Pilot[None]) -> None:
    wizard(pilot).field_at("dataset.path").put("data/9.parquet")
    await pilot.pause(0.7)  # fields are checked after a pause in typing
    await settle(pilot)


async def chats(pilot: Pilot[None]) -> None:
    wizard(pilot).field_at("dataset.path").put("data/chat.jsonl")
    await pilot.pause(0.7)  # fields are checked after a pause in typing
    await settle(pilot)


async def mapping(pilot: Pilot[None]) -> None:
    wizard(pilot).focus_field("dataset.instruction_column")
    await pilot.pause()
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, MappingDialog))
    await pilot.press("end", "ctrl+u", *"{title}: {body}")
    await settle(pilot)


async def hub(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+f")
    await until(pilot, lambda: isinstance(pilot.app.screen, HubDialog))
    await pilot.press(*"alpaca")
    state = pilot.app.screen.query_one("#hub-state")
    await until(pilot, lambda: "3" in str(state.render()) or "✗" in str(state.render()))  # type: ignore[attr-defined]
    await settle(pilot)


async def proof(pilot: Pilot[None]) -> None:
    await pilot.press("f7")
    await until(pilot, lambda: isinstance(pilot.app.screen, ProofScreen))
    await settle(pilot)


async def stopped(pilot: Pilot[None]) -> None:
    await proof(pilot)
    await until(pilot, lambda: isinstance(pilot.app.focused, ProblemList))
    await settle(pilot)


async def lengths(pilot: Pilot[None]) -> None:
    await proof(pilot)
    await pilot.press("l")
    await until(pilot, lambda: isinstance(pilot.app.focused, LengthPlot))
    await pilot.press("left", "left", "left", "left")
    await settle(pilot)


async def review(pilot: Pilot[None]) -> None:
    await stopped(pilot)
    await pilot.press("f8")
    await settle(pilot)


# name: (answer of the prover, result of the search, keys)
STATES: dict[str, tuple[Iterable[Any], Any, Step]] = {
    "detected": ((), None, as_it_opens),
    "no-data": ((), None, no_data),
    "chats": ((), None, chats),
    "mapping": ((), None, mapping),
    "hub": ((), lambda query: FOUND, hub),
    "hub-error": ((), refused, hub),
    "running": ((MEASURING, REPORT), None, proof),
    "report": ((REPORT,), None, proof),
    "lengths": ((REPORT,), None, lengths),
    "stopped": ((STOPPED,), None, stopped),
    "failed": ((FAILED,), None, stopped),
    "review": ((STOPPED,), None, review),
}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working folder with data, and fixed clocks."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "odd.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ODD * 40), encoding="utf-8"
    )
    turns = [{"from": "human", "value": "你是谁？"}, {"from": "gpt", "value": "我是懒猴 Loris。"}]
    row = json.dumps({"conversations": turns}, ensure_ascii=False) + "\n"
    (data / "chat.jsonl").write_text(row * 40, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset_dialogs, "DEBOUNCE_SECONDS", 0.0)
    monkeypatch.setattr(dataset, "HUB_DEBOUNCE_SECONDS", 0.0)
    monkeypatch.setattr("tui.screens.proof.now", lambda: 0.0)
    monkeypatch.setattr("tui.state.proof_session.now", lambda: 0.0)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_data(
    snap_compare: Any, monkeypatch: pytest.MonkeyPatch, state: str, size: tuple[int, int], language: str
) -> None:
    says, search, step = STATES[state]
    if search:
        monkeypatch.setattr(DatasetScreen, "search", staticmethod(search))
    prover = FakeProver(answers=lambda spec: says, hangs=state == "running")
    app = LorisApp(language=language, backend=RecordingBackend(), prover=prover)
    app.draft = Draft(RunSpec(name="odd", dataset=DatasetSpec(path="data/odd.jsonl")))

    async def arrange(pilot: Pilot[None]) -> None:
        await settle(pilot)
        app.go("dataset")
        await settle(pilot)
        await step(pilot)
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=arrange)
