"""The steps of the wizard and their states: a column if there is room, else a line."""

from dataclasses import dataclass

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from tui.text.translation import _


@dataclass(frozen=True)
class WizardStep:
    """`errors`: how many of its fields are wrong. `title` is marked with `N_`."""

    name: str
    title: str
    key: str
    current: bool
    errors: int


class StepLine(Static):
    """One step. Signs show its state, not colour alone."""

    DEFAULT_CSS = """
    StepLine { height: 1; width: auto; text-wrap: nowrap; }
    StepLine.-current { background: $primary-muted; color: $text-primary; }
    StepLine.-wrong { color: $text-error; }
    """

    class Clicked(Message):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, step: WizardStep) -> None:
        super().__init__("", markup=False)
        self._step_name = step.name
        self.show(step)

    def show(self, step: WizardStep) -> None:
        mark = "✗" if step.errors else "✓"
        self.set_class(step.current, "-current")
        self.set_class(bool(step.errors), "-wrong")
        sign = "▸" if step.current else " "
        self.update(Content.assemble(sign, (f"{step.key} ", "dim"), _(step.title), " ", (mark, "bold"), " "))

    def on_click(self) -> None:
        self.post_message(self.Clicked(self._step_name))


class Steps(Widget):
    """All steps. Posts `StepLine.Clicked`; the screen changes the step."""

    DEFAULT_CSS = """
    Steps { layout: horizontal; height: 1; width: 1fr; background: $surface; }
    Steps.-column { layout: vertical; height: 1fr; width: 17; padding-top: 1; border-right: solid $foreground 20%; }
    Steps.-column StepLine { width: 1fr; margin-bottom: 1; }
    """

    def __init__(self, steps: list[WizardStep], column: bool) -> None:
        super().__init__(classes="-column" if column else "")
        self._steps = steps

    def compose(self) -> ComposeResult:
        for step in self._steps:
            yield StepLine(step)

    def show(self, steps: list[WizardStep]) -> None:
        """Show these states."""
        if steps != self._steps:
            self._steps = steps
            for line, step in zip(self.query(StepLine), steps, strict=True):
                line.show(step)
