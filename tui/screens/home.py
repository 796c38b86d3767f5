"""Home: active runs, presets to start from, earlier runs."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import msgspec
from rich.cells import cell_len, set_cell_size
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from engine.config.presets import Preset, list_presets
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunSummary, list_runs
from tui.dialogs.ask import LineDialog, ListDialog
from tui.screens.base import LorisScreen, PaletteEntry
from tui.screens.run_menu import RunMenu
from tui.state.draft import Draft
from tui.state.run_status import describe_cost, seconds_so_far
from tui.state.settings import load_settings, parse_price, save_settings
from tui.text.amounts import duration
from tui.text.method import CHOICES, short_name
from tui.text.run_states import LOST, STATES
from tui.text.sanitize import visible
from tui.text.translation import LANGUAGES, N_, _, language
from tui.widgets.list_box import ListBox
from tui.widgets.top_bar import TopBar

DEMO = CHOICES["sft"].preset
METHOD_DEMOS = tuple(choice.preset for choice in CHOICES.values() if choice.preset != DEMO)
REFRESH_SECONDS = 5.0
MOST_RUNS = 1000
LABEL_CELLS, LINE_CELLS = 30, 76
FEWEST, MOST = 2, 6  # runs in a comparison


@dataclass(frozen=True)
class HomeRow:
    """A selectable line. `about` explains it; Enter calls `open`."""

    id: str
    label: str
    note: str
    about: str
    open: Callable[[], None]
    run: RunSummary | None = None


class HomeScreen(LorisScreen):
    """One list, refreshed every few seconds in a thread; the cursor follows its entry by id."""

    DEFAULT_CSS = """
    HomeScreen #welcome { height: auto; padding: 1 2 0 2; }
    HomeScreen #body { height: 1fr; padding: 0 1; }
    HomeScreen #places.-textual-compact { width: 1fr; height: 1fr; max-height: 100%; margin-top: 1; }
    HomeScreen #about { display: none; width: 40; padding: 1 2; border-left: solid $foreground 20%; }
    HomeScreen.-wide #about { display: block; }
    HomeScreen #about Static { height: auto; }
    HomeScreen #below { height: 4; padding: 0 2; border-top: solid $foreground 20%; color: $text-muted; }
    HomeScreen.-wide #below { display: none; }
    HomeScreen.-narrow FooterKey.-command-palette { display: none; }  /* or the other keys are cut */
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "scratch", N_("From scratch"), id="home.new", tooltip=N_("Start with the usual values")),
        Binding("r", "resume", N_("Resume"), id="home.resume", tooltip=N_("Resume from the last checkpoint")),
        Binding("R", "resume_with", N_("Resume with …"), show=False, id="home.resume_with"),
        Binding("m", "manage", N_("Manage"), id="home.manage", tooltip=N_("Rename, note, duplicate, delete …")),
        Binding("space", "mark", N_("Mark"), id="home.mark", tooltip=N_("Choose it for a comparison")),
        Binding("c", "compare", N_("Compare"), id="home.compare", tooltip=N_("Overlay the curves")),
        Binding("p", "settings", N_("Price"), show=False, id="home.settings"),
        Binding("l", "language", "中文 / English", id="home.language", tooltip="中文 / English"),
        Binding("q", "app.quit", N_("Quit"), show=False, id="home.quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, HomeRow] = {}
        self._about = ""
        self._marked: dict[RunFolder, None] = {}  # in the order of marking
        self._runs = RunMenu(self, self._read)

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Static("", markup=False, id="welcome")
        with Horizontal(id="body"):
            yield ListBox(id="places")
            with VerticalScroll(id="about", can_focus=False):
                yield Static("", markup=False)
        yield Static("", markup=False, id="below")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.query_one(TopBar).show(_("fine-tuning in the terminal"))
        self.query_one("#places").focus()
        self._read()
        self.set_interval(REFRESH_SECONDS, self._read)

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        presets, runs = list_presets(), list_runs()
        self.app.call_from_thread(self._show, presets, runs)

    def _show(self, presets: list[Preset], runs: list[RunSummary]) -> None:
        if not self.is_mounted:
            return
        listed = [run for run in runs if not run.draft]
        alive = [self._run_entry(run) for run in listed if run.alive]
        over = [self._run_entry(run) for run in listed if not run.alive][:MOST_RUNS]
        demos = [preset for preset in presets if preset.shipped and preset.path.stem in METHOD_DEMOS]
        others = [preset for preset in presets if preset not in demos]
        start = [self._preset_entry(preset) for preset in sorted(others, key=_demo_first)]
        if demos:
            start.insert(1, self._demos(demos))
        if self.loris.draft.changed:
            start.insert(0, self._unfinished())
        start.append(self._scratch())
        self._welcome(bool(alive))
        options: list[Option | None] = []
        for title, entries, empty in (
            (_("Running now"), alive, ""),
            (_("Start from"), start, ""),
            (
                _("Earlier runs"),
                over,
                _("No runs yet: they are listed here, to chat with and to export.") if not listed else "",
            ),
        ):
            if entries or empty:
                options += [None] if options else []
                options.append(Option(Content.styled(title, "bold $text-primary"), disabled=True))
                options += [Option(_line(entry), id=entry.id) for entry in entries]
            if empty and not entries:
                options.append(Option(Content.styled("  " + empty, "dim"), disabled=True))
        self._fill(options, [*alive, *start, *over])

    def _welcome(self, running: bool) -> None:
        """A sentence on Loris, and what Enter does for a newcomer."""
        what = (
            _("A run is in progress. Press Enter to watch it.")
            if running
            else _("New here? Press Enter for the demo: a few minutes, no GPU needed.")
        )
        self.query_one("#welcome", Static).update(
            Content.assemble((_("Teach a language model something new."), "bold"), "\n", what)
        )

    def _fill(self, options: list[Option | None], entries: list[HomeRow]) -> None:
        """Show these entries; the cursor stays on its entry, or goes to the first."""
        box = self.query_one("#places", ListBox)
        before = self._highlighted()
        lines = [option.prompt if option else None for option in options]
        if lines == getattr(self, "_lines", None):
            self._entries = {entry.id: entry for entry in entries}
            self._explain(self._highlighted())
            return
        self._lines = lines
        self._entries = {entry.id: entry for entry in entries}
        box.clear_options()
        box.add_options(options)
        wanted = before.id if before and before.id in self._entries else entries[0].id
        box.highlighted = box.get_option_index(wanted)

    def _highlighted(self) -> HomeRow | None:
        box = self.query_one("#places", ListBox)
        if box.highlighted is None:
            return None
        return self._entries.get(box.get_option_at_index(box.highlighted).id or "")

    # The entries

    def _preset_entry(self, preset: Preset) -> HomeRow:
        name = visible(preset.name)
        whose = "" if preset.shipped else _("yours")
        identity = f"preset-{preset.path.parent.name}-{preset.path.stem}".encode().hex()
        if preset.spec is None:
            lines = preset.error.lines() if preset.error else []
            about = _("This preset cannot be used:") + "\n" + visible("\n".join(lines))
            note = _("✗ cannot be used")
            return HomeRow(f"p{identity}", name, note, about, lambda: self.notify(about, markup=False))
        spec = preset.spec
        described = _(spec.description) if preset.shipped else spec.description
        is_demo = preset.shipped and preset.path.stem in (DEMO, *METHOD_DEMOS)
        about = described if is_demo else f"{described}\n\n{spec.model.model_name}\n{spec.dataset.path}"

        def begin() -> None:
            self.loris.open_draft(Draft(spec), "review" if is_demo else "model")

        note = _("try Loris here and now") if is_demo else spec.model.model_name.rpartition("/")[2]
        return HomeRow(
            f"p{identity}", name, " · ".join(filter(None, (whose, visible(note)))), visible(about), begin
        )

    def _demos(self, presets: list[Preset]) -> HomeRow:
        """One row for the demos of all methods but the first, which has its own."""
        by_stem = {preset.path.stem: preset for preset in presets}
        found = [(choice, by_stem[choice.preset]) for choice in CHOICES.values() if choice.preset in by_stem]
        names = ", ".join(choice.name for choice, _preset in found)  # as `loris demo` takes them
        about = _("One for each other way to train. Each shows its effect in minutes, without a GPU.")

        def open_list() -> None:
            entries = [self._preset_entry(preset) for _choice, preset in found]
            lines = [Content(_(choice.title)) for choice, _preset in found]
            by_id = {entry.id: entry for entry in entries}
            note = _("Enter opens the demo, ready to start. Esc leaves.")
            dialog = ListDialog(_("Demos"), list(by_id), lines, 0, note)
            self.app.push_screen(dialog, lambda chosen: by_id[chosen].open() if chosen else None)

        return HomeRow("demos", _("demos of other methods"), names, about, open_list)

    def _scratch(self) -> HomeRow:
        about = _("All settings with the usual values: choose the model first.")
        return HomeRow("scratch", _("from scratch"), _("the usual values"), about, self.action_scratch)

    def _unfinished(self) -> HomeRow:
        name = self.loris.draft.preset.name
        label = _("continue with {name}").format(name=visible(name)) if name else _("continue where you were")
        about = _("What you have filled in so far is kept until you leave Loris.")
        return HomeRow(
            "unfinished", label, _("not started yet"), about,
            lambda: self.loris.go("review"),
        )  # fmt: skip

    def _run_entry(self, run: RunSummary) -> HomeRow:
        state = _("frozen") if run.frozen else _(STATES[run.state])
        if run.lost:
            state += f" ({_(LOST[run.lost])})"
        steps = f"{run.steps}/{run.total_steps}" if run.total_steps else ""
        method = short_name(run.method, run.full_finetuning)
        loss = _("loss {loss}").format(loss=f"{run.loss:.3f}") if run.loss is not None else ""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
        seconds = seconds_so_far(run, time.time())
        took = " · ".join(filter(None, (_("time {time}").format(time=duration(seconds)), describe_cost(seconds))))
        numbers = " · ".join(filter(None, (state, steps, loss)))
        # A narrow screen shows only the first three lines.
        about = "\n".join(
            (
                f"{run.name} · {when}",
                " · ".join(filter(None, (run.model, method, run.dataset))),
                " · ".join(filter(None, (numbers, took if seconds else ""))),
                run.note,
            )
        )
        # 80 columns have room for three of these, or for two when the cause of exit is shown.
        over = (state, "" if run.lost else method or loss, when[5:])
        note = " · ".join(filter(None, (state, steps, method or loss) if run.alive else over))
        mark = "✓ " if run.folder in self._marked else ""
        return HomeRow(
            "r" + os.fsencode(run.name).hex(), mark + visible(run.title), note, visible(about),
            lambda: self._runs.open(run), run,
        )  # fmt: skip

    # Keys

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self._explain(self._entries.get(event.option_id or ""))
        self.refresh_bindings()

    def _explain(self, entry: HomeRow | None) -> None:
        about = entry.about if entry else ""
        if about != self._about:
            self._about = about
            self.query_one("#about Static", Static).update(Content(about))
            self.query_one("#below", Static).update(Content(about))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if entry := self._entries.get(event.option_id or ""):
            entry.open()

    def action_scratch(self) -> None:
        self.loris.open_draft(Draft(), "model")

    # Runs

    def chosen_run(self) -> RunSummary | None:
        entry = self._highlighted()
        return entry.run if entry else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "manage" | "mark":
                return self.is_mounted and self.chosen_run() is not None
            case "resume" | "resume_with":
                run = self.chosen_run() if self.is_mounted else None
                return run is not None and run.resumable
            case "compare":
                return len(self._marked) >= FEWEST
        return True

    @work(exclusive=True, group="run-action")
    async def action_manage(self) -> None:
        if run := self.chosen_run():
            await self._runs.offer(run)

    def action_resume(self) -> None:
        if run := self.chosen_run():
            self._runs.resume(run)

    @work(exclusive=True, group="run-action")
    async def action_resume_with(self) -> None:
        if run := self.chosen_run():
            await self._runs.resume_with(run)

    def action_mark(self) -> None:
        run = self.chosen_run()
        if run is None:
            return
        if run.folder in self._marked:
            del self._marked[run.folder]
        elif len(self._marked) >= MOST:
            self.notify(_("{count} runs at most are compared.").format(count=MOST), severity="warning")
            return
        else:
            self._marked[run.folder] = None
            if len(self._marked) == 1:
                self.notify(_("Mark one more run, then press c to compare them."))
        self.refresh_bindings()
        self._read()

    def action_compare(self) -> None:
        self.loris.compared = tuple(self._marked)
        self.loris.go("compare")

    @work(exclusive=True, group="settings")
    async def action_settings(self) -> None:
        """Ask for the price per hour, such as "1.20 USD"."""
        settings = load_settings()
        given = f"{settings.price_per_hour:g} {settings.currency}".strip() if settings.price_per_hour else ""
        note = _("Such as 1.20 USD. Runs then show what they cost so far. Empty: nothing is shown.")
        typed = await self.app.push_screen_wait(LineDialog(_("What does this machine cost an hour?"), given, note))
        if typed is None:
            return
        price = parse_price(typed)
        if price is None:
            words = _("Give a number and a currency, such as 1.20 USD.")
            self.notify(words, severity="error")
            return
        save_settings(msgspec.structs.replace(load_settings(), price_per_hour=price[0], currency=price[1]))
        self._read()

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        yield _("settings: price per hour"), _("What this machine costs; runs then show it"), self.action_settings
        if self.chosen_run():
            yield _("run: manage"), _("Rename, note, duplicate, delete …"), self.action_manage

    def action_language(self) -> None:
        codes = list(LANGUAGES)
        self.loris.use_language(codes[(codes.index(language()) + 1) % len(codes)])


def _demo_first(preset: Preset) -> bool:
    return not (preset.shipped and preset.path.stem == DEMO)


def _line(entry: HomeRow) -> Content:
    label, cells = entry.label, cell_len(entry.label)
    if cells <= LABEL_CELLS:
        label = set_cell_size(label, LABEL_CELLS)
    elif cells > (
        room := max(LABEL_CELLS, LINE_CELLS - 3 - cell_len(entry.note))
    ):  # `loris status` and the run's menu show it in full
        label = set_cell_size(label, room - 1) + "…"
    return Content.assemble("  ", label, " ", (entry.note, "dim"))
