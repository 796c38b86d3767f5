"""The proof of the dataset: its examples, lengths, numbers, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, Footer, OptionList, Tab, Tabs
from textual.worker import Worker

from engine.spec.report import DataReport, Fix, Problem, ProofFailed, ProofProgress, at_length
from tui.i18n import N_, _, render
from tui.proof_words import facts, length_lines, progress_words
from tui.safe import visible
from tui.screens.base import LorisScreen, PaletteEntry
from tui.widgets.histogram import Histogram
from tui.widgets.list_box import ListBox
from tui.widgets.loss_plot import has_unicode
from tui.widgets.token_view import ExampleView
from tui.widgets.top_bar import TopBar
from tui.widgets.words import Words

LENGTH = "model.max_seq_length"
PANES = {"examples": N_("Examples"), "lengths": N_("Lengths"), "problems": N_("Problems"), "facts": N_("Numbers")}


class ProofScreen(LorisScreen):
    """Measures as soon as it is opened, unless the last report is of the same settings."""

    CSS = """
    ProofScreen #state { height: auto; padding: 0 1; }
    ProofScreen #state.-stop { color: $text-error; text-style: bold; }
    ProofScreen #state.-good { color: $text-success; text-style: bold; }
    ProofScreen Tabs { height: 1; }
    ProofScreen Tabs Underline { display: none; }
    ProofScreen Tabs #tabs-list-bar { height: 1; }
    ProofScreen Tabs Tab { height: 1; padding: 0 1; }
    ProofScreen Tabs Tab.-active { text-style: bold reverse; }
    ProofScreen ContentSwitcher { height: 1fr; }
    ProofScreen #which { height: 1; padding: 0 1; color: $text-muted; }
    ProofScreen #pane-lengths, ProofScreen #pane-examples { height: 1fr; }
    ProofScreen Histogram { height: 1fr; max-height: 16; margin-top: 1; }
    ProofScreen #at-length { padding: 1 1 0 1; }
    ProofScreen #pane-problems { height: 1fr; padding: 0 1; }
    ProofScreen #fact-words { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", N_("Stop/back"), id="proof.back", tooltip=N_("Stop measuring, or go back")),
        Binding("n", "turn(1)", N_("Next row"), id="proof.next", tooltip=N_("The next example")),
        Binding("p", "turn(-1)", N_("Row before"), id="proof.previous", tooltip=N_("The example before")),
        Binding("a", "apply", N_("Use length"), id="proof.apply", tooltip=N_("Take the length at the line")),
        Binding("r", "again", N_("Again"), id="proof.again", tooltip=N_("Measure anew")),
        *(
            Binding(str(number), f"pane('{name}')", title, id=f"proof.pane.{name}", show=False)
            for number, (name, title) in enumerate(PANES.items(), start=1)
        ),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._report: DataReport | None = None
        self._row = 0
        self._fixes: list[tuple[Problem, Fix | None]] = []
        self._measuring: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        unicode = has_unicode()
        yield TopBar()
        yield Words(id="state")
        yield Tabs(*(Tab(f"{n} {_(title)}", id=name) for n, (name, title) in enumerate(PANES.items(), 1)))
        with ContentSwitcher(initial="pane-examples"):
            with Vertical(id="pane-examples"):
                yield Words(id="which")
                yield ExampleView(unicode, id="example")
            with Vertical(id="pane-lengths"):
                yield Histogram(unicode, id="histogram")
                yield Words(id="at-length")
            yield ListBox(id="pane-problems")
            with VerticalScroll(id="pane-facts"):
                yield Words(id="fact-words")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Tabs).can_focus = False
        draft = self.loris.draft
        self.query_one(TopBar).show(" · ".join((_("Proof"), str(draft["dataset.path"]))))
        spec, _errors = draft.build()
        known = self.loris.proofs.known(spec) if spec else None
        if known:
            self._ended(known)
        else:
            self.action_again()
        self.action_pane("examples")

    # Measuring.

    def action_again(self) -> None:
        self._measuring = self._measure()

    @work(exclusive=True, group="proof")
    async def _measure(self) -> None:
        spec, errors = self.loris.draft.build()
        if spec is None or errors:
            first = errors[0]
            self._tell(f"✗ {first.field}: {render(first.message)}", "-stop")
            return
        self._report = None
        self.query_one("#pane-problems", ListBox).clear_options()
        async with aclosing(self.loris.proofs.prove(spec)) as answers:
            async for answer in answers:
                if isinstance(answer, ProofProgress):
                    self._tell(f"… {progress_words(answer)}  {_('Esc stops')}")
                else:
                    self._ended(answer)
        self._measuring = None

    def _tell(self, words: str, tone: str = "") -> None:
        state = self.query_one("#state", Words)
        state.set_class(tone == "-stop", "-stop")
        state.set_class(tone == "-good", "-good")
        state.say(visible(words))

    def _ended(self, found: DataReport | ProofFailed) -> None:
        if isinstance(found, ProofFailed):
            hint = f" {render(found.hint)}" if found.hint else ""
            self._tell(f"✗ {render(found.message)}{hint}", "-stop")
            return
        self._report, self._row = found, 0
        stops, warnings = len(found.stops), len(found.problems) - len(found.stops)
        if stops:
            first = render(found.stops[0].message)
            self._tell(_("✗ Would not train: {reason} (3 shows the ways out)").format(reason=first), "-stop")
        elif warnings:
            self._tell(_("✓ Can be trained; to look at: {count} (press 3)").format(count=warnings), "-good")
        else:
            self._tell(_("✓ Can be trained; nothing to correct"), "-good")
        self.query_one("#problems", Tab).label = f"3 {_(PANES['problems'])} ({len(found.problems)})"
        self.query_one("#fact-words", Words).say(visible("\n\n".join(facts(found))))
        self.query_one(Histogram).show(found.lengths, found.max_seq_length)
        self._show_length(found.max_seq_length)
        self._show_row()
        self._show_problems()

    # Examples.

    def _show_row(self) -> None:
        report = self._report
        if report is None or not report.examples:
            self.query_one("#which", Words).say(_("There is no example to show."))
            return
        row = report.examples[self._row]
        words = _("Row {row} ({at} of {shown} shown): {length} tokens, {learned} learned").format(
            row=row.number, at=self._row + 1, shown=len(report.examples), length=row.length, learned=row.learned
        )
        self.query_one("#which", Words).say(words)
        self.query_one(ExampleView).show(row)

    def action_turn(self, by: int) -> None:
        if self._report and self._report.examples:
            self._row = (self._row + by) % len(self._report.examples)
            self._show_row()
            self.action_pane("examples")

    # Lengths.

    def on_histogram_moved(self, event: Histogram.Moved) -> None:
        self._show_length(event.length)

    def _show_length(self, length: int) -> None:
        if self._report is None:
            return
        lines = length_lines(at_length(self._report, length))
        if length != self.loris.draft[LENGTH]:
            lines.append(_("Press a to set the context length to {length}; it is {now}.").format(
                length=length, now=self.loris.draft[LENGTH]))  # fmt: skip
        else:
            lines.append(_("← → move the line and show what other lengths would do."))
        self.query_one("#at-length", Words).say("\n".join(lines))

    def action_apply(self) -> None:
        length = self.query_one(Histogram).length
        if self._report and length != self.loris.draft[LENGTH]:
            self._change({LENGTH: length})

    # Problems.

    def _show_problems(self) -> None:
        assert self._report is not None
        box = self.query_one("#pane-problems", ListBox)
        box.clear_options()
        self._fixes = []
        for problem in self._report.problems:
            self._fixes.append((problem, None))
            box.add_option(_problem_words(problem))
            for fix in problem.fixes:
                self._fixes.append((problem, fix))
                box.add_option(Content.assemble(("   → ", "bold $text-accent"), visible(render(fix.label))))
        if not self._fixes:
            box.add_option(Content(_("Nothing is wrong.")))
        box.highlighted = next((n for n, (_p, fix) in enumerate(self._fixes) if fix), 0)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_index >= len(self._fixes):
            return
        problem, fix = self._fixes[event.option_index]
        if fix:
            self._change(fix.changes)
        elif problem.field:
            self.loris.go_to_field(problem.field)

    def _change(self, changes: dict[str, object]) -> None:
        """Change the draft, and measure what that makes of it."""
        for path, value in changes.items():
            self.loris.draft[path] = value
        said = ", ".join(f"{path} = {value}" for path, value in changes.items())
        self.notify(_("Changed: {changes}").format(changes=visible(said)), markup=False)
        self.action_again()

    # Going about.

    def action_pane(self, name: str) -> None:
        self.query_one(Tabs).active = name
        focus = {"examples": "#example", "lengths": "#histogram"}.get(name, f"#pane-{name}")
        self.query_one(focus).focus()

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        self.query_one(ContentSwitcher).current = f"pane-{event.tab.id}"

    def action_back(self) -> None:
        if self._measuring and self._measuring.is_running:
            self._measuring.cancel()
            self._measuring = None
            self._tell(_("Stopped. Press r to measure again."))
        else:
            self.loris.go(self.came_from)

    def commands(self) -> Iterable[PaletteEntry]:
        yield _("proof: measure again"), _("Look at the dataset anew"), self.action_again


def _problem_words(problem: Problem) -> Content:
    mark = ("✗ ", "bold $text-error") if problem.level == "stop" else ("! ", "bold $text-warning")
    parts: list[tuple[str, str]] = [mark, (visible(render(problem.message)), "")]
    if problem.row:
        parts.append(
            ("\n   " + visible(_("Row {row}: {value}").format(row=problem.row, value=problem.value)), "dim")
        )
    return Content.assemble(*parts)
