"""The test prompts and their answers as a table: a row for each prompt, a column for each state of the model."""

from __future__ import annotations

from dataclasses import dataclass

from engine.protocol.events import Answered
from engine.protocol.state import RunState
from tui.text.translation import _


@dataclass(frozen=True)
class Column:
    """A state of the model. `step`: of a checkpoint; None for the base model, and for what training ended with."""

    step: int | None
    adapter: bool

    def title(self, state: RunState) -> str:
        """What stands above it: a checkpoint's step, and the loss there where it was logged."""
        if self.step is None:
            return _("after training") if self.adapter else _("base model")
        words = _("step {step}").format(step=self.step)
        at = {round(step): value for step, value in zip(state.loss.steps, state.loss.values, strict=True)}
        return f"{words} · {at[self.step]:.4f}" if self.step in at else words


@dataclass(frozen=True)
class Samples:
    """`cells`: the newest answer of each (prompt, column); some may not be there yet."""

    prompts: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: dict[tuple[str, Column], Answered]

    @classmethod
    def of(cls, state: RunState) -> Samples:
        """All that was answered so far."""
        cells = {(a.prompt, Column(a.step, a.adapter)): a for a in state.answers}
        columns = {column for _prompt, column in cells}
        prompts = tuple(dict.fromkeys(answer.prompt for answer in state.answers))
        return cls(prompts, tuple(sorted(columns, key=_place)), cells)


def _place(column: Column) -> tuple[int, int]:
    """The base first, then the steps, then the end."""
    if column.step is None:
        return (2, 0) if column.adapter else (0, 0)
    return 1, column.step
