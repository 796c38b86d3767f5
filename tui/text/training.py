"""Computes and describes what batch size, steps and epochs amount to."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui.text.translation import _

_SLICE = re.compile(r"\[(\d*):(\d*)(%?)\]")


@dataclass(frozen=True)
class Amounts:
    """`rows` and what depends on it are 0 while the number of rows is not known."""

    batch: int
    accumulation: int
    max_steps: int
    epochs: float
    rows: int

    @property
    def effective(self) -> int:
        return self.batch * self.accumulation

    @property
    def steps(self) -> int:
        """All steps of the training; 0 when they depend on an unknown number of rows."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(math.ceil(self.rows / self.effective) * self.epochs)

    @property
    def passes(self) -> float:
        """How often each row is trained on; 0 when not known."""
        return self.steps * self.effective / self.rows if self.rows else 0.0


def amounts_of(value: Callable[[str], Any], rows: int) -> Amounts:
    """The amounts of a spec or a draft: `value` returns a field's value; `rows`: of the complete file, or 0."""
    return Amounts(
        batch=value("training.per_device_train_batch_size"),
        accumulation=value("training.gradient_accumulation_steps"),
        max_steps=value("training.max_steps"),
        epochs=value("training.num_train_epochs"),
        rows=round(sliced(rows, value("dataset.split")) * (1 - value("dataset.test_size"))),
    )


def sliced(rows: int, split: str) -> int:
    """How many of `rows` a split such as train[:1000] or train[:10%] selects."""
    found = _SLICE.search(split)
    if not found or not rows:
        return rows
    unit = rows / 100 if found[3] else 1
    start = round(int(found[1] or 0) * unit)
    end = min(rows, round(int(found[2]) * unit) if found[2] else rows)
    return max(0, end - start)


def describe_training(amounts: Amounts) -> str:
    """Sentences on how much is trained, and which of steps and epochs counts."""
    sentences = [
        _("Each step learns from {effective} examples ({batch} × {accumulation}).").format(
            effective=amounts.effective, batch=amounts.batch, accumulation=amounts.accumulation
        )
    ]
    if amounts.max_steps > 0:
        sentences.append(_("Training ends after {steps} steps; epochs do not count.").format(steps=amounts.steps))
        if amounts.rows:
            sentences.append(
                _("That is each of the {rows} rows about {passes} times.").format(
                    rows=amounts.rows, passes=f"{amounts.passes:.1f}"
                )
            )
    elif amounts.rows:
        sentences.append(
            _("{epochs} epochs over {rows} rows are {steps} steps.").format(
                epochs=f"{amounts.epochs:g}", rows=amounts.rows, steps=amounts.steps
            )
        )
    else:
        sentences.append(
            _("Training ends after {epochs} epochs; the number of steps is known once the data is loaded.").format(
                epochs=f"{amounts.epochs:g}"
            )
        )
    return " ".join(sentences)
