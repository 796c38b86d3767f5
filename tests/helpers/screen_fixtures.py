"""Fixtures for screen tests: a cursor that does not blink, no drawing between pictures, some rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.widgets import Input, TextArea


@pytest.fixture(autouse=True)
def steady_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that does not blink, so that pictures are the same."""
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)
    monkeypatch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda self: None)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw only whole screens, as pictures need them: what changes in between goes to no terminal here, and drawing
    it takes half of the time. Tests read the screen from the compositor, which is kept."""
    whole = Compositor.render_update

    def render_update(self: Compositor, full: bool = False, **named: Any) -> Any:
        if full:
            return whole(self, full, **named)
        self._dirty_regions.clear()
        return None

    monkeypatch.setattr(Compositor, "render_update", render_update)


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """A file of forty short conversations."""
    path = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]
    path.write_text((json.dumps({"messages": turns}) + "\n") * 40, encoding="utf-8")
    return path
