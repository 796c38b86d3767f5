"""The export screen: adapter, merged model or GGUF files. Pushing to the Hub has a screen of its own."""

import asyncio
import time
from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Footer, Static
from textual.worker import Worker

from engine.client.serving import wait_for_engine
from engine.config.quantizations import QUANTIZATIONS
from engine.messages.errors import UserError
from engine.protocol.commands import CancelExport, Done, Export, ExportProgress, Refused
from engine.protocol.events import Exported, ExportKind
from tui.screens.base import LorisScreen, RunChanged
from tui.screens.llama_pane import LlamaPane
from tui.screens.wizard import Form
from tui.state.llama_build import build
from tui.text.amounts import duration, size
from tui.text.export import Plan, describe_export_progress, describe_plan, export_bytes, format_name, plan
from tui.text.run_states import describe_waiting
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.editors import ChoicesWanted, Edited, LineEditor, SeveralEditor, SwitchEditor
from tui.widgets.export_choice import ExportChoice, field_after
from tui.widgets.top_bar import TopBar

KINDS: tuple[ExportKind, ...] = ("adapter", "merged_16bit", "merged_4bit", "gguf")
FIRST_QUANTIZATION = "q4_k_m"


class ExportForm(Form, inherit_bindings=False):
    """For the keys that move between fields, all export kinds are one field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "screen.to_field(-1)", show=False),
        Binding("down", "screen.to_field(1)", show=False),
    ]


class ExportScreen(LorisScreen):
    """One export at a time. The engine finishes a running export even when the screen is closed."""

    CSS = """
    ExportScreen #form { height: 1fr; padding: 1 1 0 1; scrollbar-size-vertical: 1; }
    ExportScreen #form > Static { height: auto; width: 1fr; }
    ExportScreen .row { height: auto; }
    ExportScreen #gguf { height: auto; padding-left: 2; display: none; }
    ExportScreen #gguf.-shown { display: block; }
    ExportScreen #replace-row { display: none; }
    ExportScreen #replace-row.-shown { display: block; }
    ExportScreen .row Static { width: 14; height: 1; text-style: bold; }
    ExportScreen .row Input { width: 1fr; }
    ExportScreen .buttons { height: 1; }
    ExportScreen .buttons Button { margin-right: 2; }
    ExportScreen #target { color: $foreground-muted; margin-bottom: 1; }
    ExportScreen #target.-wrong { color: $text-error; }
    ExportScreen #progress { height: auto; max-height: 5; padding: 0 1; }
    ExportScreen #saved { margin-top: 1; }
    ExportScreen #progress.-done { color: $text-success; text-style: bold; }
    ExportScreen #progress.-wrong { color: $text-error; }
    ExportScreen #saved { color: $foreground-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", N_("Export"), id="save.save", tooltip=N_("Export as chosen")),
        Binding("ctrl+o", "push", N_("Push"), id="save.push", tooltip=N_("Push an export to the Hub")),
        Binding("ctrl+g", "cancel", N_("Cancel"), id="save.cancel", tooltip=N_("Cancel the export")),
        Binding("escape", "back", N_("Back"), id="save.back", tooltip=N_("Back to the run; the export continues")),
        Binding("ctrl+t", "chat", N_("Chat"), id="save.chat", tooltip=N_("Talk to the model")),
        Binding("shift+tab", "to_field(-1)", show=False),
        Binding("tab", "to_field(1)", show=False),
    ]
    clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        super().__init__()
        self._kind: ExportKind = "merged_16bit"
        self._plan: Plan | None = None
        self._exporting: Worker[None] | None = None
        self._began = 0.0
        self._doing = ""
        self._sent = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        with ExportForm(id="form", can_focus=False):
            for kind in KINDS[self.loris.session.state.whole :]:  # a whole model has no adapter
                yield ExportChoice(kind)
            with Vertical(id="gguf"):
                quantizations = tuple(QUANTIZATIONS)
                yield SeveralEditor(quantizations, (FIRST_QUANTIZATION,), id="quantizations")
                yield Static(id="quantization-use", markup=False)
                yield LlamaPane()
                with Horizontal(classes="row"):
                    yield Static(_("Ollama"), markup=False)
                    yield LineEditor("", placeholder=_("a name, to add it to Ollama at once"), id="ollama")
            with Horizontal(classes="row"):
                yield Static(_("Folder"), markup=False)
                yield LineEditor("", placeholder=_("empty: the run's own folder"), id="folder")
            yield Static(id="target", markup=False)
            with Horizontal(classes="row", id="replace-row"):
                yield Static(_("Replace it"), markup=False)
                yield SwitchEditor(False, id="replace")
            with Horizontal(classes="buttons"):
                yield Button(_("Export"), id="go", variant="primary", compact=True)
                yield Button(_("Push to the Hub"), id="push", compact=True)
            yield Static(id="saved", markup=False)
        yield Static(id="progress", markup=False)  # below the form, so that it is visible on small terminals
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self.watch(self.query_one("#quantizations"), "at", self._show, init=False)
        self.query_one(f"#choice-{self._kind}").focus()
        self._show()

    def on_run_changed(self, _message: RunChanged) -> None:
        self._show()

    def _show(self) -> None:
        session = self.loris.session
        name = (
            session.spec.name
            if session.spec and session.spec.name
            else session.folder.name
            if session.folder
            else ""
        )
        self.query_one(TopBar).show(" · ".join(filter(None, (_("Export"), session.title))))
        for choice in self.query(ExportChoice):
            choice.chosen = choice.kind == self._kind
            count = export_bytes(choice.kind, session.state, self._quantizations)
            choice.size_words = _("about {size}").format(size=size(count)) if count else ""
        self.query_one("#gguf").set_class(self._kind == "gguf", "-shown")
        several = self.query_one("#quantizations", SeveralEditor)
        name = several.choices[several.at]
        self.query_one("#quantization-use", Static).update(f"{name}: {_(QUANTIZATIONS[name].use)}")
        lines = [describe_export(export) for export in session.state.exports]
        saved = "\n".join([_("Exported so far"), *lines]) if lines else _("Nothing is exported yet.")
        self.query_one("#saved", Static).update(saved)

    # The plan

    def on_export_choice_export_chosen(self, event: ExportChoice.ExportChosen) -> None:
        self._choose(event.kind)

    def _choose(self, kind: ExportKind) -> None:
        self._kind = kind
        self._show()
        self._update_plan()

    def on_llama_pane_built(self, _event: LlamaPane.Built) -> None:
        self._update_plan()

    def action_to_field(self, by: int, within: bool = False) -> None:
        """Focus the next field; `within`: the next export kind."""
        target = field_after(self.focus_chain, self.focused, by, within)
        if isinstance(target, ExportChoice):
            self._choose(target.kind)  # at once, because keys may come in bursts
        if target is not None:
            target.focus()

    @property
    def _quantizations(self) -> tuple[str, ...]:
        chosen: tuple[str, ...] = self.query_one("#quantizations", SeveralEditor).value
        return chosen if self._kind == "gguf" else chosen or (FIRST_QUANTIZATION,)

    def on_edited(self, event: Edited) -> None:
        self._show()
        self._update_plan()

    def on_choices_wanted(self, event: ChoicesWanted) -> None:
        self.action_save()

    def on_descendant_focus(self) -> None:
        self._show()

    @work(exclusive=True, group="look")
    async def _update_plan(self) -> None:
        """Show the target and what prevents the export; in a thread, because a mounted drive can be slow."""
        await asyncio.sleep(0.1)  # debounce
        await self._make_plan()

    async def _make_plan(self) -> Plan | None:
        session = self.loris.session
        if session.folder is None:
            return None
        typed = self.query_one("#folder", LineEditor).value
        pane = self.query_one(LlamaPane)
        replace = self.query_one("#replace", SwitchEditor).value is True
        kind, chosen = self._kind, self._quantizations if self._kind == "gguf" else ()
        llama = await pane.find() if kind == "gguf" else None
        found = await asyncio.to_thread(
            plan, kind, typed, session.folder, session.state, chosen, pane.folder, replace
        )
        self._plan = found
        target = self.query_one("#target", Static)
        target.set_class(found.error is not None, "-wrong")
        known = found.error is not None and llama is not None and found.error == llama.error
        target.update("" if known else describe_plan(found))
        self.query_one("#replace-row").set_class(found.exists, "-shown")
        return found

    # Export

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "push":
            self.action_push()
        else:
            self.action_save()

    def action_save(self) -> None:
        if self._exporting is not None:
            self.notify(_("An export is already running: wait until it is done."))
            return
        self._exporting = self._export()

    @work(group="save")
    async def _export(self) -> None:
        kind = self._kind
        self._began, self._sent = self.clock(), False
        try:
            found = await self._make_plan()
            if found is None or found.error:
                fields = {"llama_cpp": "#llama-folder", "quantizations": "#quantizations"}
                self.query_one(fields.get(found.field, "#folder") if found else "#folder").focus()
                return
            self._show_progress(_("Looking for the engine…"))
            await wait_for_engine(self.loris.session, lambda *waits: self._show_progress(describe_waiting(*waits)))
            self._sent = True
            self._show_progress(_("Exporting: {what}").format(what=format_name(kind)))
            command = Export(
                id=0,
                kind=kind,
                path=str(found.target),
                quantizations=self._quantizations if kind == "gguf" else (),
                llama_cpp=self._llama_folder() if kind == "gguf" else "",
                ollama=self.query_one("#ollama", LineEditor).value.strip() if kind == "gguf" else "",
                replace=self.query_one("#replace", SwitchEditor).value is True,
            )
            async with aclosing(self.loris.session.ask(command)) as replies:
                async for reply in replies:
                    match reply:
                        case ExportProgress():
                            self._show_progress(describe_export_progress(reply))
                        case Done(path=path):
                            await self.loris.session.catch_up()  # so that the push screen offers this export
                            words = [_("Exported to {path}").format(path=path)]
                            words += [render(reply.note)] if reply.note else []
                            self._show_result("\n".join(words), "-done")
                        case Refused(message=message):
                            self._show_result(render(message), "-wrong")
        except asyncio.CancelledError:
            if self.is_here:
                self._show_result(_("Stopped before anything was exported."), "-wrong")
            raise
        except UserError as error:
            self._show_result(visible(render(error.message)), "-wrong")
        finally:
            self._exporting, self._doing = None, ""
            if self.is_here:
                self._show()

    def _llama_folder(self) -> str:
        """The folder of the llama.cpp that was checked: the engine's own search could find another one."""
        pane = self.query_one(LlamaPane)
        pane.remember()
        return str(pane.found.folder) if pane.found and pane.found.folder else pane.folder

    def _show_progress(self, words: str) -> None:
        self._doing = words
        self.query_one("#progress").remove_class("-done", "-wrong")
        self._tick()

    def _show_result(self, words: str, tone: str) -> None:
        self._doing = ""
        progress = self.query_one("#progress", Static)
        progress.set_class(tone == "-done", "-done")
        progress.set_class(tone == "-wrong", "-wrong")
        progress.update(("✓ " if tone == "-done" else "✗ ") + visible(words))
        if tone == "-done":
            self.query_one("#target", Static).update("")  # or it would say that the target exists
        else:
            self._update_plan()

    def _tick(self) -> None:
        """Update the elapsed time, which shows that the export is alive."""
        if self._doing:
            spent = duration(self.clock() - self._began)
            self.query_one("#progress", Static).update(visible(f"… {self._doing}  {spent}"))

    # Cancel and leave

    @work(group="cancel")
    async def action_cancel(self) -> None:
        if self._exporting is None and build().running:
            build().cancel()
        elif self._exporting is None:
            self.notify(_("Nothing is being exported."))
        elif not self._sent:
            self._exporting.cancel()
        else:
            try:
                async with aclosing(self.loris.session.ask(CancelExport(id=0))) as replies:
                    async for reply in replies:
                        if isinstance(reply, Refused):
                            self.notify(visible(render(reply.message)), markup=False)
            except UserError as error:
                self.notify(visible(render(error.message)), markup=False)

    def action_push(self) -> None:
        if self.loris.session.state.exports:
            self.loris.go("push")
        else:
            self.notify(_("There is nothing to push yet."))

    def action_back(self) -> None:
        if self._exporting is not None and not self._sent:
            self._exporting.cancel()
            return
        if self._exporting is not None:
            self.notify(_("The export continues; the run's screen tells when it is done."))
        self.loris.go("live")

    def action_chat(self) -> None:
        self.loris.go("chat")


def describe_export(export: Exported) -> str:
    """One line for an export: kind, size, path and what was verified."""
    kind = format_name(export.kind, export.quantizations)
    line = f"{kind}  {size(export.total_bytes)}  {visible(export.path)}"
    return line + (f"\n  ✓ {visible(render(export.verified))}" if export.verified else "")
