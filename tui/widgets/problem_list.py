"""The stops and warnings of a data proof, each with its fixes, applied by a digit key."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList

from engine.protocol.data_report import DataProblem, Fix, ProofFailed
from tui.text.sanitize import visible
from tui.text.translation import _, render
from tui.widgets.list_box import ListBox

MOST_FIXES = 9  # one per digit key
VALUE_CHARACTERS = 60


@dataclass(frozen=True)
class ProblemItem:
    """A line of the list: a problem, one of its fixes, or the field that causes it."""

    content: Content
    row: int | None = None
    fix: Fix | None = None
    field: str = ""


def items_of(problems: Sequence[DataProblem]) -> Iterator[ProblemItem]:
    """The lines for these problems; fixes are numbered across all of them."""
    number = 0
    for problem in problems:
        stop = problem.level == "stop"
        mark = ("✗ ", "bold $text-error") if stop else ("! ", "bold $text-warning")
        words = [mark, (visible(render(problem.message)), "")]
        if problem.row:
            value = " ".join(visible(problem.value).split())[:VALUE_CHARACTERS]
            words.append((" " + _("(row {row}: {value})").format(row=problem.row, value=value), "$text-muted"))
        yield ProblemItem(Content.assemble(*words), problem.row)
        for fix in problem.fixes:
            number += 1
            key = f"{number}" if number <= MOST_FIXES else " "
            yield ProblemItem(
                Content.assemble((f"  {key} ", "bold $text-accent"), visible(render(fix.label))), fix=fix
            )
        if stop and not problem.fixes and problem.field:
            yield ProblemItem(Content.assemble(("  ↵ ", "bold"), _("Go to the setting")), field=problem.field)


def items_of_failure(failed: ProofFailed) -> Iterator[ProblemItem]:
    words = [("✗ ", "bold $text-error"), (visible(render(failed.message)), "")]
    if failed.hint:
        words.append(("\n  " + visible(render(failed.hint)), ""))
    yield ProblemItem(Content.assemble(*words))
    if failed.field:
        yield ProblemItem(Content.assemble(("  ↵ ", "bold"), _("Go to the setting")), field=failed.field)


class ProblemList(ListBox):
    """Posts `Picked` when Enter is pressed on a line."""

    DEFAULT_CSS = """
    ProblemList.-textual-compact { max-height: 9; display: none; }
    ProblemList.-textual-compact.-shown { display: block; }
    """

    class Picked(Message):
        def __init__(self, item: ProblemItem) -> None:
            super().__init__()
            self.item = item

    def __init__(self) -> None:
        super().__init__(id="problems")
        self.items: tuple[ProblemItem, ...] = ()

    @property
    def fixes(self) -> list[Fix]:
        return [item.fix for item in self.items if item.fix]

    def show(self, items: Iterator[ProblemItem]) -> None:
        self.items = tuple(items)
        self.set_class(bool(self.items), "-shown")
        self.can_focus = bool(self.items)
        self.clear_options()
        self.add_options([item.content for item in self.items])
        if self.items:
            self.highlighted = 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Picked(self.items[event.option_index]))
