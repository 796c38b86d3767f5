"""Compares two to six runs: their curves in one plot, their metrics, and the settings in which they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Static

from engine.config.fields import field_info
from engine.config.methods import METHODS
from engine.config.presets import differences
from engine.config.run_spec import RunSpec, sections_of
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunSummary, summarise
from tui.plots.loss_plot import has_unicode
from tui.plots.overlay_plot import LETTERS, OverlayPlot
from tui.screens.base import LorisScreen
from tui.state.run_status import describe_cost, state_of
from tui.text.amounts import duration
from tui.text.method import short_name
from tui.text.metrics import LOSS_SAYS_LITTLE, in_order, number, title_of
from tui.text.run_states import STATES
from tui.text.sanitize import visible
from tui.text.translation import N_, _
from tui.text.values import describe_value
from tui.widgets.literal_text import LiteralText
from tui.widgets.top_bar import TopBar

FEWEST, MOST = 2, len(LETTERS)
LIKELIHOOD = {name for name, method in METHODS.items() if method.loss_is_likelihood}  # their losses are of one kind
NOT_COMPARED = ("training.output_dir",)  # has no effect on the loss


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs. `spec`: None when it cannot be read."""

    run: RunSummary
    state: RunState
    spec: RunSpec | None


def read(folders: Sequence[RunFolder]) -> list[ComparedRun]:
    """Read all of these runs. Takes a second for 200,000 steps."""
    found = []
    for folder in folders:
        try:
            spec: RunSpec | None = load_spec(folder.spec)
        except SpecError:
            spec = None
        found.append(ComparedRun(summarise(folder), state_of(folder), spec))
    return found


def run_line(letter: str, one: ComparedRun) -> Content:
    """One line for a run: letter, title, state, last loss, steps, time."""
    state, seconds = one.state, one.state.clock.engine_seconds
    loss = state.step.loss if state.step else None
    facts = (
        short_name(one.run.method, one.run.full_finetuning),
        _(STATES[one.run.state]),
        "" if loss is None else _("loss {loss}").format(loss=f"{loss:.4f}"),
        _("held-out {loss}").format(loss=f"{state.eval_loss.values[-1]:.4f}") if len(state.eval_loss) else "",
        f"{one.run.steps}/{one.run.total_steps}" if one.run.total_steps else "",
        duration(state.clock.training_seconds or seconds),
        describe_cost(seconds),
    )
    ink = f"curve{LETTERS.index(letter)}"
    return Content.assemble(
        (f" {letter} ", f"bold reverse {INK_STYLES[ink]}"),
        f" {visible(one.run.title)}  ",
        (" · ".join(filter(None, facts)), "$foreground-muted"),
    )


INK_STYLES = {
    "curve0": "$success", "curve1": "$warning", "curve2": "$accent", "curve3": "$error", "curve4": "$primary",
    "curve5": "$foreground",
}  # fmt: skip


def difference_parts(compared: Sequence[ComparedRun]) -> list[Content]:
    """The settings that are not the same in all runs, each with its value in every run."""
    specs = [(letter, one.spec) for letter, one in zip(LETTERS, compared, strict=False) if one.spec]
    if len(specs) < FEWEST:
        return [Content(_("The settings cannot be read."))]
    first = specs[0][1]
    fields = {one.field: None for _letter, spec in specs[1:] for one in differences(first, spec)}
    parts = []
    for field in fields:
        if field in NOT_COMPARED:
            continue
        section, _dot, key = field.rpartition(".")
        values = [
            part
            for letter, spec in specs
            if not section or section in sections_of(spec.training.method)
            for part in ((f"  {letter} ", "bold"), visible(describe_value(getattr(getattr(spec, section), key))))
        ]
        parts.append(
            Content.assemble(_(field_info(field).title), (f" ({field})", "$foreground-muted"), "\n", *values)
        )
    return parts or [Content(_("All settings are the same: the runs differ only by chance."))]


def compared_metric(compared: Sequence[ComparedRun]) -> tuple[str, str]:
    """(the metric to plot, why), an empty metric for the loss, and an empty reason where that needs none."""
    methods = {one.run.method for one in compared}
    if methods <= LIKELIHOOD or (len(methods) == 1 and not methods & set(LOSS_SAYS_LITTLE)):
        return "", ""
    common = [
        key for key in compared[0].state.metric_curves if all(key in one.state.metric_curves for one in compared)
    ]
    if common:
        key = in_order(common)[0]
        if len(methods) == 1:
            return key, _("The loss of this method says little: the plot shows {metric}.").format(
                metric=title_of(key)
            )
        words = _("Losses of different methods cannot be compared: the plot shows {metric}.")
        return key, words.format(metric=title_of(key))
    return "", _("Losses of different methods cannot be compared, and these have no number in common.")


def metric_parts(compared: Sequence[ComparedRun]) -> list[Content]:
    """The methods' own metrics, each with its newest value in every run that has it."""
    keys = {key: None for one in compared for key in one.state.metric_curves}
    parts = []
    for key in in_order(keys):
        values = [
            part
            for letter, one in zip(LETTERS, compared, strict=False)
            if key in one.state.metric_curves
            for part in ((f"  {letter} ", "bold"), number(one.state.metric_curves[key].values[-1]))
        ]
        parts.append(Content.assemble(title_of(key), *values))
    return parts


class CompareScreen(LorisScreen):
    """Reads `loris.compared` once, in a thread."""

    DEFAULT_CSS = """
    CompareScreen #runs { height: auto; max-height: 6; padding: 0 1; }
    CompareScreen #runs Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    CompareScreen #why { padding: 0 1; color: $text-warning; }
    CompareScreen OverlayPlot { height: 2fr; min-height: 8; }
    CompareScreen #settings { height: 1fr; min-height: 4; border-top: solid $foreground 20%; padding: 0 1; }
    CompareScreen #settings Static { height: auto; }
    CompareScreen #settings .title { text-style: bold; color: $text-primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h,escape", "home", N_("Home"), id="compare.home", tooltip=N_("Back to the list of runs")),
    ]

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Vertical(id="runs")
        yield LiteralText(id="why")
        yield OverlayPlot(has_unicode())
        with VerticalScroll(id="settings"):
            yield Static(_("Where their settings differ"), markup=False, classes="title")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(TopBar).show(_("compare runs"))
        self.query_one("#settings").focus()
        self._read(self.loris.compared)

    @work(thread=True, exclusive=True)
    def _read(self, folders: tuple[RunFolder, ...]) -> None:
        found = read(folders[:MOST])
        self.app.call_from_thread(self._show, found)

    def _show(self, found: list[ComparedRun]) -> None:
        if not self.is_mounted:
            return
        lines = [run_line(letter, one) for letter, one in zip(LETTERS, found, strict=False)]
        self.query_one("#runs").mount_all([Static(line, markup=False) for line in lines])
        key, why = compared_metric(found)
        curves = [one.state.metric_curves[key] if key else one.state.loss for one in found]
        self.query_one(OverlayPlot).show_curves(curves, title_of(key) if key else "")
        self.query_one("#why", LiteralText).set_text(why)
        if metrics := metric_parts(found):
            title = Static(_("The methods' numbers, at the last step"), markup=False, classes="title")
            self.query_one("#settings").mount_all(
                [title, *(Static(part, markup=False) for part in metrics)], before=0
            )
        self.query_one("#settings").mount_all([Static(part, markup=False) for part in difference_parts(found)])

    def action_home(self) -> None:
        self.loris.go("home")
