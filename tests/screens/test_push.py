"""Pushing: checks before it, what is sent, its progress, and that the token is stored nowhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.config.spec_files import save_spec
from engine.hub.errors import HubError
from engine.hub.push_target import PushTarget
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import AnyReply, CancelPush, Command, Done, Push, Refused
from engine.runs.folder import RunFolder
from tests.helpers import fake_run
from tests.helpers.fake_run import FakeBackend, app_on, screen_text
from tests.helpers.waiting import on_screen, until
from tui.screens.export import ExportScreen
from tui.widgets.text_block import TextBlock

SIZES = [(80, 24), (120, 36)]
SECRET = "hf_secretsecretsecret"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """A run, and a Hub on which lin may write; `taken` exists, and `other/x` belongs to another user."""
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run")
    save_spec(folder.spec, fake_run.SPEC)

    def look(repo: str, token: str) -> PushTarget:
        if repo.startswith("other/"):
            raise HubError("hub_no_access", say("This token may not write to other."), say("Take lin/x."))
        name = repo if "/" in repo else f"lin/{repo}"
        taken = repo == "taken"
        return PushTarget(name, "lin", "", exists=taken, private=True, files=3 if taken else 0)

    monkeypatch.setattr("tui.screens.push.DEBOUNCE_SECONDS", 0.05)
    monkeypatch.setattr("tui.screens.push.check_target", look)
    monkeypatch.setattr("tui.screens.push.license_of", lambda model: "llama3.2")
    monkeypatch.setattr("tui.screens.push.token_source", lambda: "")
    return FakeBackend(folder=folder)


@pytest.mark.parametrize("size", SIZES)
async def test_a_push_by_keys(size: tuple[int, int], backend: FakeBackend) -> None:
    app = app_on("save", backend, fake_run.finished())
    async with app.run_test(size=size) as pilot:
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "Nobody is logged in" in screen_text(app))
        assert "[x] on" in screen_text(app), "private unless told otherwise"
        await pilot.press(*["backspace"] * 3, *"mine", "down", "down", *SECRET)
        await until(pilot, lambda: "lin/mine is free: it will be created. Token of lin." in screen_text(app))
        assert SECRET not in screen_text(app)
        card = app.screen.query_one("#card", TextBlock).text
        assert "license: llama3.2" in card
        assert "{owner}/mine" in card
        await pilot.press("down", *"By me.", "ctrl+s")
        await until(pilot, lambda: bool(backend.asked))
        (push,) = backend.asked
        assert isinstance(push, Push)
        assert (push.kind, push.repo_id, push.private, push.token) == ("adapter", "mine", True, SECRET)
        assert push.path.endswith("/runs/demo/adapter")
        assert push.card == "By me." + card
        backend.feed([ev.Pushing(kind="adapter", repo_id="lin/mine", step="uploading", file="a.safetensors",
                                 done_bytes=30 << 20, total_bytes=60 << 20)])  # fmt: skip
        await until(pilot, lambda: "uploading a.safetensors, 30.0 MB / 60.0 MB (50%)" in screen_text(app))
        backend.feed([ev.Pushed(kind="adapter", path=push.path, repo_id="lin/mine", url="https://hub/lin/mine",
                                commit="c", private=True, files=7, total_bytes=60 << 20, seconds=3)])  # fmt: skip
        await until(pilot, lambda: "✓ At https://hub/lin/mine (private): 7 files, 60.0 MB" in screen_text(app))
        await pilot.press("escape")
        await on_screen(pilot, ExportScreen)
    assert not [p for p in backend.folder.path.rglob("*") if p.is_file() and SECRET in p.read_text()]


async def test_new_exports_are_offered_and_the_newest_is_selected(backend: FakeBackend) -> None:
    merged = ev.Exported(kind="merged_16bit", path="/m", total_bytes=1, seconds=1)
    adapter = ev.Exported(kind="adapter", path="/again", total_bytes=1, seconds=1)
    app = app_on("push", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "[LoRA adapter]" in screen_text(app))
        backend.feed([merged])
        await until(pilot, lambda: "LoRA adapter  [Merged 16-bit model]" in screen_text(app))
        card = app.screen.query_one("#card", TextBlock)
        await until(pilot, lambda: "library_name: transformers" in card.text)
        backend.feed([adapter])
        await until(pilot, lambda: "Merged 16-bit model  [LoRA adapter]" in screen_text(app))
        await pilot.press("up", "left")  # the user's choice stays
        await until(pilot, lambda: "[Merged 16-bit model]  LoRA adapter" in screen_text(app))
        backend.feed([ev.Exported(kind="merged_4bit", path="/4", total_bytes=1, seconds=1)])
        await until(pilot, lambda: "[Merged 16-bit model]  LoRA adapter   Merged 4-bit model" in screen_text(app))


async def test_an_existing_repository_is_shown_first(backend: FakeBackend) -> None:
    app = app_on("push", backend, fake_run.finished())
    async with app.run_test(size=(120, 36)) as pilot:
        app.screen.query_one("#token", Input).value = SECRET
        app.screen.query_one("#repo", Input).value = "other/x"
        await until(pilot, lambda: "✗ This token may not write to other. Take lin/x." in screen_text(app))
        app.screen.query_one("#repo", Input).value = "taken"
        await until(pilot, lambda: "already exists and holds 3 files" in screen_text(app))
        assert app.screen.query_one("#replace-row").display


async def test_a_failure_is_shown_with_what_to_do_and_another_try_works(backend: FakeBackend) -> None:
    async def refuses(command: Command) -> AsyncGenerator[AnyReply, None]:
        yield Refused(id=1, code="hub_bad_token", message=say("The Hub does not take this token."), field="token")

    backend.answer = refuses
    app = app_on("push", backend, fake_run.finished())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✗ The Hub does not take this token." in screen_text(app))
        assert app.focused is not None
        assert app.focused.id == "token"

        async def done(command: Command) -> AsyncGenerator[AnyReply, None]:
            yield Done(id=1, path="https://hub/x")

        backend.answer = done
        await pilot.press("ctrl+s")
        await until(pilot, lambda: len(backend.asked) == 2)


async def test_a_push_in_progress_is_cancelled(backend: FakeBackend) -> None:
    going = ev.Pushing(kind="adapter", repo_id="lin/x", step="uploading", done_bytes=1, total_bytes=4)
    app = app_on("push", backend, [*fake_run.finished(), going])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+s")
        await pilot.pause(0.2)
        assert backend.asked == [], "one at a time"
        await pilot.press("ctrl+g")
        await until(pilot, lambda: backend.asked == [CancelPush(id=0)])
        failed = ev.PushFailed(
            kind="adapter", repo_id="lin/x", code="cancelled", message=say("The push was given up.")
        )
        backend.feed([failed])
        await until(pilot, lambda: "✗ The push was given up." in screen_text(app))
