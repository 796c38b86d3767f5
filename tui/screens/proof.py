"""The data proof: which tokens will be learned, what prevents training, what other lengths would change."""

from collections.abc import Iterable
from time import monotonic as now
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Footer

from engine.protocol.data_report import DataReport, Fix, ProofFailed, ProvenRow, at_length
from tui.dialogs.ask import NumberDialog
from tui.plots.length_plot import LengthPlot
from tui.screens.base import LorisScreen, PaletteEntry, ProofChanged
from tui.screens.wizard import STEP_KEYS
from tui.text.proof import describe_format, describe_lacking, describe_proof_progress, describe_rows, numbers
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render
from tui.widgets.literal_text import LiteralText
from tui.widgets.problem_list import ProblemList, items_of, items_of_failure
from tui.widgets.token_view import VIEWS, TokenPane
from tui.widgets.top_bar import TopBar

LENGTH = "model.max_seq_length"
BAR_CELLS = 20
ABOUT = N_(
    "Each row is written as text, cut into tokens and masked just as training will do it, with the tokenizer of "
    "your model. You will see which tokens are learned, what stands in the way, and what a longer or shorter "
    "context would change. No GPU is used, and nothing is trained."
)


class ProofScreen(LorisScreen):
    """Runs the proof of the draft unless its report is cached. Narrow terminals show either rows or lengths."""

    DEFAULT_CSS = """
    ProofScreen #headline { padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; height: auto; }
    ProofScreen #progress { padding: 0 1; color: $text-accent; display: none; }
    ProofScreen #progress.-shown { display: block; }
    ProofScreen #problems { margin: 0 1; }
    ProofScreen #panes { height: 1fr; margin-top: 1; }
    ProofScreen TokenPane { width: 3fr; height: 1fr; }
    ProofScreen #lengths { width: 2fr; height: 1fr; padding: 0 1; display: none; }
    ProofScreen.-lengths TokenPane { display: none; }
    ProofScreen.-lengths #lengths, ProofScreen.-wide #lengths { display: block; }
    ProofScreen.-wide TokenPane { display: block; }
    ProofScreen #title { text-style: bold; height: auto; }
    ProofScreen #numbers { margin-top: 1; }
    ProofScreen.-empty #panes, ProofScreen.-new #headline { display: none; }
    ProofScreen #about { display: none; padding: 1 1 0 1; color: $text-muted; height: 1fr; }
    ProofScreen.-empty #about { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", N_("Back"), id="proof.back", tooltip=N_("Stop measuring, or go back")),
        Binding("ctrl+r", "again", N_("Again"), id="proof.again", tooltip=N_("Measure again")),
        Binding("v", "view", N_("View"), id="proof.view", tooltip=N_("Tokens, text or the raw row")),
        Binding(
            "n",
            "turn(1)",
            N_("Rows"),
            key_display="n/p",
            id="proof.next",
            tooltip=N_("The next row, or p: the previous one"),
        ),
        Binding("p", "turn(-1)", N_("Previous row"), show=False, id="proof.previous"),
        Binding("g", "go_to", N_("Go to"), id="proof.goto", tooltip=N_("A row by its number")),
        Binding("l", "lengths", N_("Lengths"), id="proof.lengths", tooltip=N_("Try other context lengths")),
        Binding("b", "edges", N_("Edges"), show=False, id="proof.edges", tooltip=N_("Where tokens meet")),
        *STEP_KEYS,
        Binding(
            "1", "fix(1)", N_("Fix"), key_display="1-9", id="proof.fix", tooltip=N_("Apply the fix of this number")
        ),
        *(Binding(str(number), f"fix({number})", N_("Fix"), show=False) for number in range(2, 10)),
    ]
    AUTO_FOCUS = ""
    _at = 0
    _extra: ProvenRow | None = None  # a row requested by its number
    _shown: DataReport | ProofFailed | None = None

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield LiteralText(id="headline")
        yield LiteralText(id="progress")
        yield ProblemList()
        yield LiteralText(id="about")
        with Horizontal(id="panes"):
            yield TokenPane()
            with VerticalScroll(id="lengths", can_focus=False):
                yield LiteralText(id="title")
                yield LengthPlot()
                yield LiteralText(id="numbers")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        name = self.loris.draft.preset.name or _("from scratch")
        self.query_one(TopBar).show(f"{name} · " + _("Proof of the data"))
        self.query_one("#about", LiteralText).set_text(_(ABOUT))
        self.add_class("-empty", "-new")
        self.set_interval(0.5, self._show_progress)
        proofs, spec = self.loris.proofs, self.loris.draft.valid_parts()
        if proofs.progress is None and not proofs.matches(spec):
            self.loris.prove()
        self._show()
        self.call_after_refresh(self._focus_first)

    def _focus_first(self) -> None:
        problems = self.query_one(ProblemList)
        (problems if problems.items else self.query_one(TokenPane)).focus()

    def on_proof_changed(self, _message: ProofChanged) -> None:
        self._show()

    # Display

    def _show(self) -> None:
        proofs = self.loris.proofs
        found = proofs.report or proofs.failed
        self._show_progress()
        if found is self._shown:
            return
        self._shown, self._at, self._extra = found, 0, None
        self.remove_class("-new")
        problems = self.query_one(ProblemList)
        report = found if isinstance(found, DataReport) else None
        self.set_class(report is None or not report.examples, "-empty")
        if isinstance(found, ProofFailed):
            self.query_one("#headline", LiteralText).set_text(
                Content.styled("✗ " + _("Nothing could be measured"), "bold $text-error")
            )
            problems.show(items_of_failure(found))
        elif report:
            self.query_one("#headline", LiteralText).set_text(_headline(report))
            problems.show(items_of(report.problems))
            self.query_one("#title", LiteralText).set_text(_("Lengths in tokens; ← → try another, Enter sets it"))
            self.query_one(LengthPlot).show(report.lengths, report.max_seq_length)
            self._show_numbers(report.max_seq_length)
            self._show_row()
        self.refresh_bindings()
        self.call_after_refresh(self._focus_first)

    def _show_progress(self) -> None:
        """Called by a timer, to update the seconds."""
        proofs, words = self.loris.proofs, self.query_one("#progress", LiteralText)
        words.set_class(proofs.progress is not None or self._shown is None, "-shown")
        if proofs.progress is None:
            if self._shown is None:
                words.set_text(_("Nothing was measured yet. Ctrl+R starts it."))
            return
        progress, passed = proofs.progress, now() - proofs.started
        share = min(1.0, progress.done / progress.total) if progress.total else 0.0
        bar = "█" * round(share * BAR_CELLS) + "░" * (BAR_CELLS - round(share * BAR_CELLS))
        line = f"{bar} {describe_proof_progress(progress)} · " + _("{seconds} s").format(seconds=int(passed))
        words.set_text(f"{line} · " + _("Esc stops"))

    def _rows(self) -> tuple[ProvenRow, ...]:
        report = self._report
        return ((self._extra,) if self._extra else ()) + (report.examples if report else ())

    @property
    def _report(self) -> DataReport | None:
        return self._shown if isinstance(self._shown, DataReport) else None

    def _show_row(self) -> None:
        rows = self._rows()
        place = f"{self._at + 1}/{len(rows)}" if len(rows) > 1 else ""
        self.query_one(TokenPane).show(rows[self._at] if rows else None, place)

    def _show_numbers(self, length: int) -> None:
        report = self._report
        if report:
            lines = [*numbers(report, at_length(report, length)), describe_format(report)]
            self.query_one("#numbers", LiteralText).set_text(visible("\n".join(lines)))

    # Rows

    def on_token_pane_turned(self, event: TokenPane.Turned) -> None:
        self.action_turn(event.by)

    def action_turn(self, by: int) -> None:
        if rows := self._rows():
            self.remove_class("-lengths")
            self._at = (self._at + by) % len(rows)
            self._show_row()

    def action_view(self) -> None:
        pane, views = self.query_one(TokenPane), list(VIEWS)
        if self.has_class("-lengths") and not self.has_class("-wide"):
            self.remove_class("-lengths")
        else:
            pane.view = views[(views.index(pane.view) + 1) % len(views)]
        pane.draw()
        pane.focus()

    def action_edges(self) -> None:
        pane = self.query_one(TokenPane)
        pane.edges = not pane.edges
        pane.draw()

    def action_go_to(self) -> None:
        if report := self._report:

            def apply(number: int | None) -> None:
                if number is not None:
                    self.go_to(number)

            self.app.push_screen(NumberDialog(_("Go to row"), max(1, report.rows_total)), apply)

    def go_to(self, number: int) -> None:
        """Show a row; one that is not among the examples is measured first."""
        self.remove_class("-lengths")
        at = next((at for at, row in enumerate(self._rows()) if row.number == number), None)
        if at is None:
            self._fetch(number)
        else:
            self._at = at
            self._show_row()
        self.query_one(TokenPane).focus()

    @work(exclusive=True, group="row")
    async def _fetch(self, number: int) -> None:
        found = await self.loris.proofs.row(self.loris.draft.valid_parts(), number)
        if isinstance(found, ProvenRow):
            self._extra, self._at = found, 0
            self._show_row()
        else:
            words = render(found.message) if found else _("There is no row {number}.").format(number=number)
            self.notify(visible(words), severity="warning", markup=False)

    # Lengths

    def action_lengths(self) -> None:
        self.toggle_class("-lengths")
        to = LengthPlot if self.has_class("-lengths") else TokenPane
        self.call_after_refresh(self.query_one(to).focus)

    @on(LengthPlot.Moved)
    def _length_moved(self, event: LengthPlot.Moved) -> None:
        if not isinstance(event, LengthPlot.Chosen):
            self._show_numbers(event.at)

    @on(LengthPlot.Chosen)
    def _length_chosen(self, event: LengthPlot.Chosen) -> None:
        self._change({LENGTH: event.at})

    # Fixes

    def on_problem_list_picked(self, event: ProblemList.Picked) -> None:
        item = event.item
        if item.fix:
            self._apply(item.fix)
        elif item.field:
            self.loris.go_to_field(item.field)
        elif item.row:
            self.go_to(item.row)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "fix":
            return bool(self.query(ProblemList) and self.query_one(ProblemList).fixes)
        return action not in ("view", "turn", "go_to", "lengths") or self._report is not None

    def action_fix(self, number: int) -> None:
        fixes = self.query_one(ProblemList).fixes
        if number <= len(fixes):
            self._apply(fixes[number - 1])

    def _apply(self, fix: Fix) -> None:
        self._change(fix.changes)

    def _change(self, changes: dict[str, object]) -> None:
        """Write the changes into the draft and run the proof again."""
        for path, value in changes.items():
            self.loris.draft[path] = value
        told = ", ".join(f"{path.rpartition('.')[2]} = {value}" for path, value in changes.items())
        self.notify(visible(told), title=_("Changed"), markup=False, timeout=3)
        self.loris.prove()

    # Navigation

    def action_again(self) -> None:
        self.loris.prove()

    def action_back(self) -> None:
        if self.loris.proofs.progress is not None:
            self.loris.cancel_proof()
        else:
            self.loris.go(self.came_from)

    def action_step(self, name: str) -> None:
        self.loris.go(name)

    def commands(self) -> Iterable[PaletteEntry]:
        yield _("proof: measure again"), _("Measure again"), self.action_again
        yield _("proof: go to a row"), _("A row by its number"), self.action_go_to
        yield _("proof: try other lengths"), _("Try other context lengths"), self.action_lengths


def _headline(report: DataReport) -> Content:
    """What was measured, and the result."""
    stops = len(report.stops)
    if stops:
        verdict = ("✗ " + _("{count} that stop training").format(count=stops), "bold $text-error")
    elif report.problems:
        verdict = ("! " + _("good to train, with warnings"), "bold $text-warning")
    else:
        verdict = ("✓ " + _("good to train"), "bold $text-success")
    about = f"  {visible(report.path)}: {describe_rows(report)} · {visible(report.variant)}"
    share = report.learned_tokens / report.tokens if report.tokens else 0.0
    learned = " · " + _("{share:.0%} of the tokens learned").format(share=share) if report.learned_tokens else ""
    lacking = describe_lacking(report)
    return Content.assemble(verdict, about, learned, (f"\n{visible(lacking)}" if lacking else "", "$text-muted"))
