"""The app: holds the draft and the link to the engine, and shows one screen at a time."""

from __future__ import annotations

import asyncio
import os
import signal
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal

from textual.app import App
from textual.binding import Binding, BindingType

from engine.spec.presets import find_preset
from tui.draft import Draft
from tui.i18n import N_, language, language_of_locale, set_language
from tui.link import Backend, EngineLink, RealBackend
from tui.messages import RunChanged
from tui.safe import VisibleFilter
from tui.settings import Settings, load_settings, save_settings

if TYPE_CHECKING:
    from textual.filter import LineFilter
    from textual.screen import Screen

# Where each screen lives. Screens are imported when first shown, to keep the first paint quick.
SCREENS = {
    "home": "tui.screens.home:HomeScreen",
    "model": "tui.screens.model:ModelScreen",
    "dataset": "tui.screens.dataset:DatasetScreen",
    "lora": "tui.screens.lora:LoraScreen",
    "training": "tui.screens.training:TrainingScreen",
    "review": "tui.screens.review:ReviewScreen",
    "live": "tui.screens.live:LiveScreen",
    "chat": "tui.screens.chat:ChatScreen",
    "save": "tui.screens.save:SaveScreen",
}
POLL_SECONDS = 0.25


class LorisApp(App[None]):
    """`preset`: the name to start the draft from. `language`: a code of `tui.i18n.LANGUAGES`."""

    TITLE = "Loris"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", N_("Quit"), id="app.quit", priority=True, tooltip=N_("Leave Loris")),
    ]

    def __init__(
        self,
        preset: str | None = None,
        language: str | None = None,
        start: Literal["home", "review"] = "home",
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        # Every frame crosses an SSH line: no animation unless the user's environment asks for it.
        if "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"
        set_language(language or load_settings().language or language_of_locale())
        found = find_preset(preset) if preset else None
        self.draft = Draft(found.spec if found else None)
        self.link = EngineLink(backend or RealBackend())
        self._start = start

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own, and ours that shows control characters instead of sending them."""
        return [*super().get_line_filters(), VisibleFilter()]

    def on_mount(self) -> None:
        # A terminal that hangs up must end the app cleanly, not leave it spinning; the engine goes on.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.exit)
        self.set_interval(POLL_SECONDS, self._poll)
        self.go(self._start)

    def _poll(self) -> None:
        if self.link.poll():
            self.screen.post_message(RunChanged())

    def go(self, name: str) -> None:
        """Show a screen by its name in `SCREENS`. Its values come from the draft and the link."""
        module, _, kind = SCREENS[name].partition(":")
        screen: Screen[None] = getattr(import_module(module), kind)()
        if len(self.screen_stack) > 1:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def use_language(self, code: str) -> None:
        """Change the language, remember it, and draw the screen in front again."""
        set_language(code)
        save_settings(Settings(language=language()))
        self.go("home")
