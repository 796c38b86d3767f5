"""The user's settings on disk."""

from __future__ import annotations

from pathlib import Path

from tui.state.settings import Settings, load_settings, save_settings


def test_settings_that_cannot_be_read_are_kept_aside(home: Path) -> None:
    (home / "settings.json").write_text('{"currency": "EUR",  // mine\n')
    assert load_settings() == Settings()
    save_settings(Settings(language="zh"))
    save_settings(Settings(language="en"))
    assert load_settings().language == "en"
    assert sorted(path.name for path in home.glob("settings*")) == ["settings.json", "settings.json.before"]
    assert "mine" in (home / "settings.json.before").read_text()
