"""The screen that saves the trained model: the adapter to a folder, or merged into one model."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, Footer, Static
from textual.worker import Worker

from engine.client.errors import ClientError
from engine.spec.commands import Done, Export, Refused
from engine.spec.events import ExportKind
from tui.amounts import duration, size
from tui.exporting import Plan, needed, plan
from tui.i18n import N_, _, render
from tui.messages import RunChanged
from tui.safe import visible
from tui.screens.base import LorisScreen
from tui.serving import NotServing, until_it_answers, why
from tui.widgets.editors import Chosen, Edited, LineEditor
from tui.widgets.export_choice import TITLES, ExportChoice
from tui.widgets.top_bar import TopBar

KINDS: tuple[ExportKind, ...] = ("adapter", "merged_16bit")


class SaveScreen(LorisScreen):
    """One export at a time. The engine finishes one that has begun, whether anyone looks or not."""

    CSS = """
    SaveScreen #form { height: 1fr; padding: 1 1 0 1; scrollbar-size-vertical: 1; }
    SaveScreen #form Static { height: auto; width: 1fr; }
    SaveScreen #folder-row { height: 1; }
    SaveScreen #folder-row Static { width: auto; padding-right: 2; text-style: bold; }
    SaveScreen #folder { width: 1fr; }
    SaveScreen #target { color: $foreground-muted; margin-bottom: 1; }
    SaveScreen #target.-wrong { color: $text-error; }
    SaveScreen #progress { margin: 1 0; }
    SaveScreen #progress.-done { color: $text-success; text-style: bold; }
    SaveScreen #progress.-wrong { color: $text-error; }
    SaveScreen #saved { color: $foreground-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", N_("Save"), id="save.save", tooltip=N_("Save as chosen")),
        Binding("escape", "back", N_("Back"), id="save.back", tooltip=N_("Back to the run; saving goes on")),
        Binding("ctrl+t", "chat", N_("Chat"), id="save.chat", tooltip=N_("Talk to the model")),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        super().__init__()
        self._kind: ExportKind = "merged_16bit"
        self._plan: Plan | None = None
        self._saving: Worker[None] | None = None
        self._began = 0.0
        self._doing = ""
        self._sent = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        with VerticalScroll(id="form", can_focus=False):
            for kind in KINDS:
                yield ExportChoice(kind)
            with Horizontal(id="folder-row"):
                yield Static(_("Folder"), markup=False)
                yield LineEditor("", placeholder=_("empty: the run's own folder"), id="folder")
            yield Static(id="target", markup=False)
            yield Button(_("Save"), id="go", variant="primary", compact=True)
            yield Static(id="progress", markup=False)
            yield Static(id="saved", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self.query_one(f"#choice-{self._kind}").focus()
        self._show()

    def on_run_changed(self, _message: RunChanged) -> None:
        self._show()

    def _show(self) -> None:
        link = self.loris.link
        name = link.spec.name if link.spec and link.spec.name else link.folder.name if link.folder else ""
        self.query_one(TopBar).show(" · ".join(filter(None, (_("Save"), name))))
        for choice in self.query(ExportChoice):
            choice.chosen = choice.kind == self._kind
            count = needed(choice.kind, link.state)
            choice.size_words = _("about {size}").format(size=size(count)) if count else ""
        lines = [
            f"{_(TITLES[export.kind])}  {size(export.total_bytes)}  {visible(export.path)}"
            for export in link.state.exports
        ]
        saved = "\n".join([_("Saved so far"), *lines]) if lines else _("Nothing is saved yet.")
        self.query_one("#saved", Static).update(saved)

    # What would be done

    def on_export_choice_chosen(self, event: ExportChoice.Chosen) -> None:
        self._kind = event.kind
        self._show()
        self._look()

    def on_edited(self, event: Edited) -> None:
        self._look()

    def on_chosen(self, event: Chosen) -> None:
        self.action_save()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        """Say where it would go and whether it can; in a thread, since a mounted drive can take its time."""
        await asyncio.sleep(0.1)  # while someone types
        await self._make_plan()

    async def _make_plan(self) -> Plan | None:
        link = self.loris.link
        if link.folder is None:
            return None
        typed = self.query_one("#folder", LineEditor).value
        self._plan = found = await asyncio.to_thread(plan, self._kind, typed, link.folder, link.state)
        target = self.query_one("#target", Static)
        target.set_class(found.error is not None, "-wrong")
        if found.error:
            target.update("✗ " + visible(render(found.error)))
        else:
            words = _("It will be at {path}. Free there: {free}.").format(
                path=str(found.target), free=size(found.free_bytes)
            )
            target.update(visible(words))
        return found

    # Saving

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_save()

    def action_save(self) -> None:
        if self._saving is not None:
            self.notify(_("Something is being saved already: wait until it is done."))
            return
        self._saving = self._save()

    @work(group="save")
    async def _save(self) -> None:
        kind = self._kind
        self._began, self._sent = self.clock(), False
        try:
            found = await self._make_plan()
            if found is None or found.error:
                self.query_one("#folder").focus()
                return
            self._say(_("Looking for the engine…"))
            await until_it_answers(self.loris.link, lambda words: self._say(words))
            self._sent = True
            self._say(_("Saving: {what}").format(what=_(TITLES[kind])))
            command = Export(id=0, kind=kind, path=str(found.target))
            async with aclosing(self.loris.link.ask(command)) as replies:
                async for reply in replies:
                    match reply:
                        case Done(path=path):
                            self._end(_("Saved at {path}").format(path=path), "-done")
                        case Refused(message=message):
                            self._end(render(message), "-wrong")
        except asyncio.CancelledError:
            if self.is_attached:
                self._end(_("Stopped before anything was saved."), "-wrong")
            raise
        except NotServing as error:
            self._end(why(error), "-wrong")
        except ClientError as error:
            self._end(render(error.message), "-wrong")
        finally:
            self._saving, self._doing = None, ""
            if self.is_attached:
                self._show()

    def _say(self, words: str) -> None:
        self._doing = words
        self.query_one("#progress").remove_class("-done", "-wrong")
        self._tick()

    def _end(self, words: str, tone: str) -> None:
        self._doing = ""
        progress = self.query_one("#progress", Static)
        progress.set_class(tone == "-done", "-done")
        progress.set_class(tone == "-wrong", "-wrong")
        progress.update(("✓ " if tone == "-done" else "✗ ") + visible(words))
        if tone == "-done":
            self.query_one("#target", Static).update("")  # or it would say that the place is taken: by this
        else:
            self._look()

    def _tick(self) -> None:
        """How long it has been going on: the engine knows no percentage, and a number that moves says it lives."""
        if self._doing:
            spent = duration(self.clock() - self._began)
            self.query_one("#progress", Static).update(visible(f"… {self._doing}  {spent}"))

    # Leaving

    def action_back(self) -> None:
        if self._saving is not None and not self._sent:
            self._saving.cancel()
            return
        if self._saving is not None:
            self.notify(_("The engine goes on saving; the run's screen tells when it is done."))
        self.loris.go("live")

    def action_chat(self) -> None:
        self.loris.go("chat")
