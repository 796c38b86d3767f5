"""The run screen: progress, loss, hardware and log; stop it, or continue to chat and export."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.notifications import SeverityLevel
from textual.widgets import ContentSwitcher, Footer, Tab, Tabs

from engine.config.methods import METHODS
from engine.protocol.curve import Curve
from tui.plots.loss_plot import LossPlot, has_unicode
from tui.screens.base import LorisScreen, PaletteEntry, RunChanged
from tui.screens.leaving import BUSY_STAGES
from tui.screens.stop_and_resume import StopAndResume
from tui.state.engine_watch import EngineWatch
from tui.state.hardware import Monitor
from tui.text.metrics import LEVELS, LOSS_SAYS_LITTLE, in_order, lights_of, title_of
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets import facts
from tui.widgets.hardware_pane import HardwarePane
from tui.widgets.log_tail import LogTail
from tui.widgets.method_facts import method_parts, scored_parts
from tui.widgets.status_line import StatusLine, progress_of
from tui.widgets.top_bar import TopBar

PANES = {
    "log": N_("Log"),
    "run": N_("Run"),
    "notices": N_("Notices"),
    "data": N_("Data"),
    "answers": N_("Answers"),
    "report": N_("Report"),
}
METHOD_PANES = {"method": N_("Method"), "scored": N_("Scores")}  # where the method has metrics, or rewards
TICK_SECONDS = 1.0
SLOW_TICKS = 2  # everything but the progress is drawn every n ticks: half the traffic on a slow line
FINISHED = 10  # index of TrainingFinished in the milestones


class LiveScreen(LorisScreen):
    """Follows the attached run. Everything shown is read from the session's state."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012
    CSS = """
    LiveScreen #body { height: 1fr; }
    LiveScreen #side { height: auto; }
    LiveScreen #below { height: 9; }
    LiveScreen.-wide #body { layout: horizontal; }
    LiveScreen.-wide #side { width: 44; height: 1fr; border-left: solid $foreground 20%; }
    LiveScreen.-wide #below { height: 14; }
    LiveScreen #side-run { display: none; border-top: solid $foreground 20%; }
    LiveScreen.-wide #side-run { display: block; }
    LiveScreen Tabs { height: 1; }
    LiveScreen Tabs Underline { display: none; }
    LiveScreen Tabs #tabs-list-bar { height: 1; }
    LiveScreen Tabs Tab { height: 1; padding: 0 1; }
    LiveScreen Tabs Tab.-active { text-style: bold reverse; }
    LiveScreen ContentSwitcher { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "stop", N_("Stop"), id="live.stop", tooltip=N_("Stop training, keep the model")),
        Binding("r", "resume", N_("Resume"), id="live.resume", tooltip=N_("Resume from the last checkpoint")),
        Binding(
            "R", "resume_with", N_("Resume with …"), id="live.resume_with", key_display="R",
            tooltip=N_("See what can be changed, and resume"),
        ),
        Binding("c", "chat", N_("Chat"), id="live.chat", tooltip=N_("Talk to the model")),
        Binding("s", "save", N_("Export"), id="live.save", tooltip=N_("Export the model: adapter, merged or GGUF")),
        Binding(
            "d", "deliver", N_("Do the rest"), id="live.deliver",
            tooltip=N_("Export, copy and push what is missing"),
        ),
        Binding("p", "samples", N_("Prompts"), id="live.samples", tooltip=N_("Answers at each checkpoint")),
        Binding("v", "curve", N_("Curve"), id="live.curve", tooltip=N_("Plot another of the method's numbers")),
        Binding("e", "why", N_("Error"), id="live.why", tooltip=N_("Show again what went wrong")),
        Binding("h,escape", "home", N_("Home"), id="live.home", tooltip=N_("Leave; the engine continues")),
        *(
            Binding(str(number), f"pane('{name}')", title, id=f"live.pane.{name}", show=False)
            for number, (name, title) in enumerate({**PANES, **METHOD_PANES}.items(), start=1)
        ),
    ]  # fmt: skip
    clock = staticmethod(time.time)
    make_monitor = Monitor

    def __init__(self) -> None:
        super().__init__()
        self._monitor = self.make_monitor()
        self._ticks = 0
        self._marks: tuple[object, ...] = ()
        self._notices_shown = 0
        self._watch = EngineWatch(self.loris.session)
        self._run = StopAndResume(self, self._watch)
        spec = self.loris.session.spec
        self._method = spec.training.method if spec else "sft"
        self._plotted: str | None = None  # the metric in the plot, as the user chose it; "" for the loss

    @property
    def _panes(self) -> dict[str, str]:
        """The panes of this run, by name. Those of the method come last, so that the numbers of the others stay."""
        of_method = [name for name in METHOD_PANES if name == "method" or self._method == "grpo"]
        if not METHODS[self._method].metrics:
            of_method = []
        return {**PANES, **{name: METHOD_PANES[name] for name in of_method}}

    def compose(self) -> ComposeResult:
        unicode = has_unicode()
        yield TopBar()
        yield StatusLine(unicode, id="status")
        with Vertical(id="body"):
            yield LossPlot(unicode, id="plot")
            with Vertical(id="side"):
                yield HardwarePane(unicode, id="hardware")
                yield facts.FactsPane(id="side-run")
        with Vertical(id="below"):
            panes = enumerate(self._panes.items(), 1)
            yield Tabs(*(Tab(f"{n} {_(title)}", id=name) for n, (name, title) in panes))
            with ContentSwitcher(initial="pane-log"):
                yield LogTail(id="pane-log")
                for name in self._panes:
                    if name != "log":
                        yield facts.FactsPane(id=f"pane-{name}")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Tabs).can_focus = False  # number keys and the mouse open the panes
        self.query_one(LogTail).focus()
        self._read_hardware()
        self.set_interval(TICK_SECONDS, self._tick)
        self._show_all()

    # Updates

    def on_run_changed(self, _message: RunChanged) -> None:
        """Redraw at once on a milestone; numbers wait for the tick."""
        if self._milestones() != self._marks:
            self._show_all()

    def on_screen_resume(self) -> None:
        self._show_all()

    def _tick(self) -> None:
        self._ticks += 1
        self._watch.tick(TICK_SECONDS)
        if not self.is_current:
            return
        if self._milestones() != self._marks:
            self._show_all()
            return
        self._show_progress()
        if self._ticks % SLOW_TICKS == 0:
            self._show_plot()
            self._show_texts()
            self._read_hardware()

    def _milestones(self) -> tuple[object, ...]:
        state = self.loris.session.state
        return (
            self.loris.session.folder, self._watch.gone, self._watch.frozen, self._watch.checkpoint,
            state.started, state.stage, state.model, state.adapter, state.dataset, state.training,
            state.finished, state.failed, state.checkpoint, len(state.notices), len(state.answers),
            len(state.exports), state.undelivered, bool(state.metric_curves),
        )  # fmt: skip

    def _show_all(self) -> None:
        self._watch.check()
        session, state = self.loris.session, self.loris.session.state
        was = self._marks
        self._marks = self._milestones()
        model = session.spec.model.model_name if session.spec else ""
        self.query_one(TopBar).show(" · ".join(filter(None, (session.title, model))))
        self._show_progress()
        self._show_plot()
        self._show_texts()
        self.query_one("#pane-notices", facts.FactsPane).show(facts.notice_parts(state))
        self.query_one("#pane-data", facts.FactsPane).show(facts.data_parts(state))
        self.query_one("#pane-answers", facts.FactsPane).show(facts.answer_parts(state))
        self.query_one("#pane-report", facts.FactsPane).show(facts.report_parts(state, session.folder))
        if state.finished and (not was or was[FINISHED] is None):
            self.action_pane("report")
        self._show_notices(first=not was)
        self.refresh_bindings()
        self._run.show_new_failure()

    def _show_notices(self, first: bool) -> None:
        """Show the count on the tab, and a toast for each new notice."""
        notices = self.loris.session.state.notices
        words = PANES["notices"]
        title = f"{list(PANES).index('notices') + 1} {_(words)}"
        self.query_one("#notices", Tab).label = f"{title} ({len(notices)})" if notices else title
        if not first:
            for notice in notices[self._notices_shown :]:
                severity: SeverityLevel = "warning" if notice.level == "warning" else "information"
                self.notify(visible(render(notice.message)), severity=severity, markup=False)
        self._notices_shown = len(notices)

    def _show_progress(self) -> None:
        session = self.loris.session
        self.query_one(StatusLine).progress = progress_of(
            session.state, not self._watch.gone, self.clock(), session.log_line, self._watch.frozen
        )

    def _show_texts(self) -> None:
        """The log and the run's numbers, which change with every step."""
        session, state = self.loris.session, self.loris.session.state
        self.query_one(LogTail).show(session.log, session.log_total)
        if "method" in self._panes:
            self._show_method()
        parts = facts.run_parts(state, session.folder)
        for pane in ("#pane-run", "#side-run"):
            self.query_one(pane, facts.FactsPane).show(parts)

    def _show_method(self) -> None:
        """The metrics, with the worst light on the tab: it is seen whichever pane is open."""
        state = self.loris.session.state
        self.query_one("#pane-method", facts.FactsPane).show(method_parts(self._method, state, has_unicode()))
        if "scored" in self._panes:
            self.query_one("#pane-scored", facts.FactsPane).show(scored_parts(state))
        lights = lights_of(self._method, state)
        sign = f" {LEVELS[lights[0].level][0]}" if lights else ""
        words = METHOD_PANES["method"]
        self.query_one("#method", Tab).label = f"{list(self._panes).index('method') + 1} {_(words)}{sign}"

    def _show_plot(self) -> None:
        state, key = self.loris.session.state, self._curve_shown
        total = state.training.total_steps if state.training else 0
        curve, evaluated = (state.metric_curves[key], Curve()) if key else (state.loss, state.eval_loss)
        name = title_of(key) if key else ""
        self.query_one(LossPlot).show(curve, evaluated, total, done=state.finished is not None, name=name)

    @property
    def _curve_shown(self) -> str:
        """The metric in the plot; empty for the loss."""
        curves = in_order(self.loris.session.state.metric_curves)
        wanted = self._plotted
        if wanted is None and self._method in LOSS_SAYS_LITTLE and curves:
            wanted = curves[0]
        return wanted if wanted in curves else ""

    @work(exclusive=True, group="hardware")
    async def _read_hardware(self) -> None:
        """In a thread: a driver can be slow, and the keys must not wait for it."""
        hardware = await asyncio.to_thread(self._monitor.read)
        step = self.loris.session.state.step
        for pane in self.query(HardwarePane):  # none, when the screen was closed meanwhile
            pane.peak_bytes = step.peak_reserved_bytes if step else 0
            pane.hardware = hardware

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state, alive = self.loris.session.state, not self._watch.gone
        match action:
            case "stop":
                return (
                    alive
                    and (state.stage in BUSY_STAGES or self._watch.frozen)
                    and self.loris.session.folder is not None
                )
            case "resume" | "resume_with":
                return self._watch.resumable
            case "chat" | "save":
                return bool(state.trained or (action == "chat" and alive and state.stage in ("loading", "ready")))
            case "deliver":
                return bool(state.undelivered) and (not alive or state.stage in ("serving", "ended"))
            case "curve":
                return bool(state.metric_curves)
            case "samples":
                return any(answer.step is not None for answer in state.answers)
            case "why":
                return self._run.failure() is not None
        return True

    def action_curve(self) -> None:
        """Plot the next of the loss and the method's metrics."""
        names = ["", *in_order(self.loris.session.state.metric_curves)]
        self._plotted = names[(names.index(self._curve_shown) + 1) % len(names)]
        self._show_plot()

    def action_pane(self, name: str) -> None:
        if name not in self._panes:
            return
        self.query_one(Tabs).active = name
        self.query_one(f"#pane-{name}").focus()  # so that the arrow keys scroll this pane

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        self.query_one(ContentSwitcher).current = f"pane-{event.tab.id}"

    @work(exclusive=True, group="stop")
    async def action_stop(self) -> None:
        await self._run.stop()

    def action_resume(self) -> None:
        self._run.resume()

    @work(exclusive=True, group="resume-with")
    async def action_resume_with(self) -> None:
        await self._run.resume_with()

    def action_why(self) -> None:
        self._run.show_failure()

    def action_chat(self) -> None:
        self.loris.go("chat")

    def action_save(self) -> None:
        self.loris.go("save")

    @work(exclusive=True, group="deliver")
    async def action_deliver(self) -> None:
        await self._run.deliver()

    def action_samples(self) -> None:
        self.loris.go("samples")

    def action_home(self) -> None:
        if self.loris.session.alive:
            self.notify(_("The engine continues. Come back to it from the list of runs."))
        self.loris.go("home")

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        stop: Callable[[], object] = self.action_stop
        if self.check_action("stop", ()):
            yield _("run: stop"), _("Stop training, keep the model"), stop
        if self.check_action("resume", ()):
            resume_with: Callable[[], object] = self.action_resume_with
            yield _("run: resume"), _("Resume from the last checkpoint"), self.action_resume
            yield _("run: resume with"), _("See what can be changed, and resume"), resume_with
        if self.check_action("chat", ()):
            yield _("run: chat"), _("Talk to the model"), self.action_chat
        if self.check_action("save", ()):
            yield _("run: export"), _("Export the model: adapter, merged or GGUF"), self.action_save
        if self.check_action("deliver", ()):
            deliver: Callable[[], object] = self.action_deliver
            yield _("run: do the rest"), _("Export, copy and push what is missing"), deliver
