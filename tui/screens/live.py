"""The screen of a run: how far it is, the loss, the machine, the log; stop it, or go on to chat and save."""

from __future__ import annotations

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

from engine.client.errors import ClientError
from engine.client.lost import lost
from engine.spec.commands import Refused
from engine.spec.errors import SpecError
from engine.spec.events import Change
from tui.draft import Draft
from tui.hardware import Monitor
from tui.i18n import N_, _, render
from tui.leaving import ASKED_IN
from tui.messages import RunChanged
from tui.run_words import change_words
from tui.safe import visible
from tui.screens.base import LorisScreen, PaletteEntry
from tui.stop_words import survived_lines
from tui.widgets import facts
from tui.widgets.dialogs import Failure, FailureModal, WayOn
from tui.widgets.hardware_pane import HardwarePane
from tui.widgets.log_tail import LogTail
from tui.widgets.loss_plot import LossPlot, has_unicode
from tui.widgets.status_line import StatusLine, progress_of
from tui.widgets.stop_dialog import stop_question
from tui.widgets.top_bar import TopBar

PANES = {
    "log": N_("Log"),
    "run": N_("Run"),
    "notices": N_("Notices"),
    "data": N_("Data"),
    "answers": N_("Answers"),
    "report": N_("Report"),
}
TICK_SECONDS = 1.0
SLOW_TICKS = 2  # all but the progress is drawn every so many ticks: that halves what crosses a slow line
LOG_LINES_OF_FAILURE = 40
FINISHED = 9  # where TrainingFinished stands among the milestones
LAST_WORDS_SECONDS = 2.0
START_SECONDS = 30.0


class LiveScreen(LorisScreen):
    """Follows the attached run. Everything shown is read from the link's state; nothing is kept here."""

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
        Binding("x", "stop", N_("Stop"), id="live.stop", tooltip=N_("End training, keep the model")),
        Binding("r", "resume", N_("Resume"), id="live.resume", tooltip=N_("Go on from the last checkpoint")),
        Binding("c", "chat", N_("Chat"), id="live.chat", tooltip=N_("Talk to the model")),
        Binding("s", "save", N_("Save"), id="live.save", tooltip=N_("Save, merge or copy the model")),
        Binding("e", "why", N_("Error"), id="live.why", tooltip=N_("Show again what went wrong")),
        Binding("h,escape", "home", N_("Home"), id="live.home", tooltip=N_("Leave; the engine goes on")),
        *(
            Binding(str(number), f"pane('{name}')", title, id=f"live.pane.{name}", show=False)
            for number, (name, title) in enumerate(PANES.items(), start=1)
        ),
    ]  # fmt: skip
    clock = staticmethod(time.time)
    make_monitor = Monitor

    def __init__(self) -> None:
        super().__init__()
        self._monitor = self.make_monitor()
        self._ticks = 0
        self._marks: tuple[object, ...] = ()
        self._told_failure = False
        self._seconds_without = 0.0
        self._stops_asked = 0  # how far up the ladder: 0 not asked, 1 to stop, 2 at once, 3 by force
        self._stopped_of: object = None  # the engine that was asked
        self._frozen = False
        self._checkpoint: int | None = None  # to go on from, once the engine is gone
        self._notices_told = 0

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
            yield Tabs(*(Tab(f"{n} {_(title)}", id=name) for n, (name, title) in enumerate(PANES.items(), 1)))
            with ContentSwitcher(initial="pane-log"):
                yield LogTail(id="pane-log")
                for name in PANES:
                    if name != "log":
                        yield facts.FactsPane(id=f"pane-{name}")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Tabs).can_focus = False  # the numbers and the mouse reach the panes
        self.query_one(LogTail).focus()
        self._look_at_hardware()
        self.set_interval(TICK_SECONDS, self._tick)
        self._show_all()

    # What happens

    def on_run_changed(self, _message: RunChanged) -> None:
        """Only a change of what matters at once is shown at once; numbers wait for the tick."""
        if self._milestones() != self._marks:
            self._show_all()

    def on_screen_resume(self) -> None:
        self._show_all()

    def _tick(self) -> None:
        self._ticks += 1
        self._look_for_engine()
        if not self.is_current:
            return
        if self._milestones() != self._marks:
            self._show_all()
            return
        self._show_progress()
        if self._ticks % SLOW_TICKS == 0:
            self._show_plot()
            self._show_texts()
            self._look_at_hardware()

    def _milestones(self) -> tuple[object, ...]:
        state = self.loris.link.state
        return (
            self.loris.link.folder, self._gone, self._frozen, state.started, state.stage, state.model,
            state.adapter, state.dataset,            state.training, state.finished, state.failed, state.checkpoint,
            len(state.notices), len(state.answers), len(state.exports),
        )  # fmt: skip

    def _look_for_engine(self) -> None:
        """Count the seconds without an engine. Its last words may still be unread when it lets go of the lock,
        and a process that was just started has yet to take it."""
        link = self.loris.link
        if link.folder is None or link.alive or link.state.ended or link.being_served:
            self._seconds_without = 0.0
        else:
            self._seconds_without += TICK_SECONDS
        self._frozen = link.folder is not None and link.alive and link.backend.is_frozen(link.folder)

    @property
    def _gone(self) -> bool:
        """Whether the engine is gone without having said so."""
        patience = LAST_WORDS_SECONDS if self.loris.link.state.started else START_SECONDS
        return self._seconds_without >= patience

    def _show_all(self) -> None:
        link, state = self.loris.link, self.loris.link.state
        was = self._marks
        self._marks = self._milestones()
        self._checkpoint = link.backend.checkpoint(link.folder) if link.folder and not link.alive else None
        title = link.spec.name if link.spec and link.spec.name else link.folder.name if link.folder else ""
        model = link.spec.model.model_name if link.spec else ""
        self.query_one(TopBar).show(" · ".join(filter(None, (title, model))))
        self._show_progress()
        self._show_plot()
        self._show_texts()
        self.query_one("#pane-notices", facts.FactsPane).show(facts.notice_parts(state))
        self.query_one("#pane-data", facts.FactsPane).show(facts.data_parts(state))
        self.query_one("#pane-answers", facts.FactsPane).show(facts.answer_parts(state))
        self.query_one("#pane-report", facts.FactsPane).show(facts.report_parts(state))
        if state.finished and (not was or was[FINISHED] is None):
            self.action_pane("report")
        self._tell_notices(first=not was)
        self.refresh_bindings()
        self._tell_failure()

    def _tell_notices(self, first: bool) -> None:
        """Count the notices at their pane, and tell those that come while one looks."""
        notices = self.loris.link.state.notices
        title = f"{list(PANES).index('notices') + 1} {_(PANES['notices'])}"
        self.query_one("#notices", Tab).label = f"{title} ({len(notices)})" if notices else title
        if not first:
            for notice in notices[self._notices_told :]:
                severity: SeverityLevel = "warning" if notice.level == "warning" else "information"
                self.notify(visible(render(notice.message)), severity=severity, markup=False)
        self._notices_told = len(notices)

    def _show_progress(self) -> None:
        link = self.loris.link
        self.query_one(StatusLine).progress = progress_of(
            link.state, not self._gone, self.clock(), link.doing, self._frozen
        )

    def _show_texts(self) -> None:
        """The log and the run's numbers: whole blocks that move with every step."""
        link, state = self.loris.link, self.loris.link.state
        self.query_one(LogTail).show(link.log, link.log_total)
        parts = facts.run_parts(state, link.folder)
        for pane in ("#pane-run", "#side-run"):
            self.query_one(pane, facts.FactsPane).show(parts)

    def _show_plot(self) -> None:
        state = self.loris.link.state
        total = state.training.total_steps if state.training else 0
        self.query_one(LossPlot).show(state.loss, state.eval_loss, total, done=state.finished is not None)

    @work(exclusive=True, group="hardware")
    async def _look_at_hardware(self) -> None:
        """In a thread: a driver can take its time, and the keys must not wait for it."""
        hardware = await asyncio.to_thread(self._monitor.read)
        step = self.loris.link.state.step
        for pane in self.query(HardwarePane):  # none, once the screen was left meanwhile
            pane.peak_bytes = step.peak_reserved_bytes if step else 0
            pane.hardware = hardware

    # Failure

    def _failure(self) -> Failure | None:
        link, state = self.loris.link, self.loris.link.state
        if link.folder is None:
            return None
        tail = tuple(list(link.log)[-LOG_LINES_OF_FAILURE:])
        path = visible(str(link.folder.log))
        resumable = (self._checkpoint or 0) if self._resumable else None
        if state.failed:
            hint = render(state.failed.hint) if state.failed.hint else ""
            return Failure(
                _("The run failed"), visible(render(state.failed.message)), visible(hint), tail, path,
                changes=tuple(map(change_words, state.failed.changes)), checkpoint=resumable,
            )  # fmt: skip
        # A trained run lacks nothing: chat starts the engine again.
        if self._gone and not state.trained and (why := lost(state, self._checkpoint)):
            words, hint = visible(render(why.message)), render(why.hint)
            return Failure(_("The engine is gone"), words, hint, tail, path, checkpoint=resumable)
        return None

    def _tell_failure(self) -> None:
        if (failure := self._failure()) is None:
            self._told_failure = False
        elif not self._told_failure and self.is_current:
            self._told_failure = True
            self.app.push_screen(FailureModal(failure), self._go_on)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        state, alive = self.loris.link.state, not self._gone
        match action:
            case "stop":
                return alive and (state.stage in ASKED_IN or self._frozen) and self.loris.link.folder is not None
            case "resume":
                return self._resumable
            case "chat" | "save":
                return bool(state.trained or (action == "chat" and alive and state.stage in ("loading", "ready")))
            case "why":
                return self._failure() is not None
        return True

    def action_pane(self, name: str) -> None:
        self.query_one(Tabs).active = name
        self.query_one(f"#pane-{name}").focus()  # so that the arrows scroll what was asked for

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        self.query_one(ContentSwitcher).current = f"pane-{event.tab.id}"

    def action_why(self) -> None:
        if failure := self._failure():
            self.app.push_screen(FailureModal(failure), self._go_on)

    def _go_on(self, how: WayOn | None) -> None:
        """What the user chose to do about a failure."""
        failed = self.loris.link.state.failed
        changes = failed.changes if failed else ()
        if how == "wizard":
            self._into_wizard(changes)
        elif how:
            self._resume(changes if how == "resume_changed" else ())

    def _into_wizard(self, changes: tuple[Change, ...]) -> None:
        spec = self.loris.link.spec
        if spec is not None:
            draft = Draft(spec)
            for change in changes:
                draft[change.field] = change.value
            self.loris.draft = draft
            self.loris.go("review")

    @property
    def _resumable(self) -> bool:
        """Whether training was cut off and can go on. The lock is looked at: it is freed a moment after the end."""
        link, state = self.loris.link, self.loris.link.state
        over = self._gone or state.ended is not None
        return over and state.started is not None and not state.trained and not link.alive

    def action_resume(self) -> None:
        self._resume(())

    def _resume(self, changes: tuple[Change, ...]) -> None:
        try:
            self.loris.link.resume(changes)
        except SpecError as error:
            words = "\n".join(f"{one.field}: {render(one.message)}" for one in error.errors)
            self.notify(visible(words), severity="error", markup=False)
            return
        except OSError as error:
            self.notify(visible(str(error)), severity="error", markup=False)
            return
        self._seconds_without = 0.0
        step = self._checkpoint
        self.notify(
            _("Going on from step {step} …").format(step=step)
            if step
            else _("Starting again from the first step …")
        )
        self.refresh_bindings()

    def action_chat(self) -> None:
        self.loris.go("chat")

    def action_save(self) -> None:
        self.loris.go("save")

    def action_home(self) -> None:
        if self.loris.link.alive:
            self.notify(_("The engine goes on. Come back to it from the list of runs."))
        self.loris.go("home")

    @work(exclusive=True, group="stop")
    async def action_stop(self) -> None:
        """One step up the ladder: stop and save; at once; by force. Each is asked for, and says what it costs."""
        link, state = self.loris.link, self.loris.link.state
        if self._stopped_of != (link.folder, state.started):
            self._stopped_of, self._stops_asked = (link.folder, state.started), 0
        rung = 2 if self._frozen else min(self._stops_asked, 2)
        if not await self.app.push_screen_wait(stop_question(rung, state, self._frozen)):
            return
        self._stops_asked = max(self._stops_asked, rung + 1)
        self.notify((_("Stopping …"), _("Ending it at once …"), _("Ending it by force …"))[rung])
        if link.folder is None:
            return
        if rung == 2:
            survived = await link.backend.force(link.folder)
            self.notify("\n".join(survived_lines(survived)), timeout=15, markup=False)
            return
        try:
            async for reply in link.stop("save" if rung == 0 else "now"):
                if isinstance(reply, Refused):
                    self.notify(visible(render(reply.message)), severity="warning", markup=False)
        except ClientError as error:
            self.notify(visible(render(error.message)), severity="error", markup=False)

    def commands(self) -> Iterable[PaletteEntry]:
        yield from super().commands()
        stop: Callable[[], object] = self.action_stop
        if self.check_action("stop", ()):
            yield _("run: stop"), _("End training, keep the model"), stop
        if self.check_action("resume", ()):
            yield _("run: resume"), _("Go on from the last checkpoint"), self.action_resume
        if self.check_action("chat", ()):
            yield _("run: chat"), _("Talk to the model"), self.action_chat
        if self.check_action("save", ()):
            yield _("run: save"), _("Save, merge or copy the model"), self.action_save
