"""The llama.cpp pane of the export form: its folder, whether it can be used, a button to fetch and build it."""

import asyncio

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

from engine.export.llama_cpp import LlamaCpp, find_llama_cpp
from tui.dialogs.ask import ConfirmModal
from tui.state.llama_build import build, consent_question, requirements
from tui.state.settings import llama_cpp_folder, remember_llama_cpp
from tui.text.amounts import size
from tui.text.export import describe_llama_cpp
from tui.text.sanitize import visible
from tui.text.translation import _, render
from tui.widgets.editors import LineEditor
from tui.widgets.workers import GuardedWorkers


class LlamaPane(Vertical, GuardedWorkers):
    """`folder` is the value as typed; `await find()` checks it. Posts `Built` after a build."""

    DEFAULT_CSS = """
    LlamaPane { height: auto; }
    LlamaPane #llama { height: auto; width: 1fr; color: $foreground-muted; }
    LlamaPane #llama.-wrong { color: $text-error; }
    LlamaPane #fetch { display: none; margin-top: 0; }
    LlamaPane #fetch.-shown { display: block; }
    """

    class Built(Message):
        """A build has ended, successfully or not."""

    def __init__(self) -> None:
        super().__init__(id="llama-pane")
        self._found: tuple[str, LlamaCpp] | None = None  # what was typed, and what was found there
        self._building = False
        self._failed = ""  # why the last build failed

    def compose(self) -> ComposeResult:
        with Horizontal(classes="row"):
            yield Static(_("llama.cpp"), markup=False)
            placeholder = _("empty: where it is usually found")
            yield LineEditor(llama_cpp_folder(), placeholder=placeholder, id="llama-folder")
        yield Static(id="llama", markup=False)
        yield Button(id="fetch", compact=True)

    def on_mount(self) -> None:
        self._building = build().running
        self.set_interval(0.5, self._watch)

    @property
    def folder(self) -> str:
        """As typed; empty to search the usual locations."""
        return self.query_one("#llama-folder", LineEditor).value.strip()

    @property
    def found(self) -> LlamaCpp | None:
        """The result of the last `find`."""
        return self._found[1] if self._found else None

    async def find(self) -> LlamaCpp:
        """What is there; checked again only after an edit or a build."""
        typed = self.folder
        if self._found is None or self._found[0] != typed:
            if self._found is not None:
                self._failed = ""  # something else was typed
            self._found = typed, await asyncio.to_thread(find_llama_cpp, typed)
            if self._found[1].error:
                wanted = await asyncio.to_thread(requirements)
                label = _("Download and build it: {size}, {minutes} minutes")
                self.query_one("#fetch", Button).label = Content(
                    label.format(size=size(wanted.download_bytes), minutes=wanted.minutes)
                )
        found = self._found[1]
        if not self._building:
            self._show_status(self._failed or describe_llama_cpp(found), found.error is not None)
        self.query_one("#fetch").set_class(found.error is not None and not self._building, "-shown")
        return found

    def remember(self) -> None:
        """Save the folder in the settings if it can be used."""
        if self.found and not self.found.error and self.folder != llama_cpp_folder():
            remember_llama_cpp(self.folder)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self._offer_build()

    @work(exclusive=True, group="ask")
    async def _offer_build(self) -> None:
        wanted = await asyncio.to_thread(requirements)
        if wanted.error:
            self._show_status("✗ " + visible(render(wanted.error)), wrong=True)
            return
        asked = ConfirmModal(
            _("Download and build llama.cpp?"), consent_question(wanted), _("Download and build"), _("Not now")
        )
        if await self.app.push_screen_wait(asked):
            build().start()
            self._building = True
            self.query_one("#fetch").remove_class("-shown")
            self.query_one("#llama-folder", LineEditor).focus()
            self._watch()

    def _watch(self) -> None:
        if self._building and build().running:
            self._show_status(build().describe(), wrong=False)
        elif self._building:
            self._building, self._found = False, None
            self._failed = "✗ " + build().failed if build().failed else ""
            if not self._failed:
                self.query_one("#llama-folder", LineEditor).put("")  # the built one is found without a folder
            self.post_message(self.Built())

    def _show_status(self, words: str, wrong: bool) -> None:
        status = self.query_one("#llama", Static)
        status.update(words)
        status.set_class(wrong, "-wrong")
