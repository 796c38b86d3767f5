"""What every export receives: the model, a cancel check, and a progress callback."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from engine.config.prompts import Prompt
from engine.model.loading import Loaded
from engine.prompting.prompt_format import PromptFormat
from engine.protocol.commands import ExportStep

REPORT_SECONDS = 0.3

Report = Callable[[ExportStep, int, int, str, str], None]


@dataclass
class ExportJob:
    """One export. `report` receives the step, the amount done, the total (0: not known), the unit and the item."""

    loaded: Loaded
    prompt_format: PromptFormat
    cancelled: Callable[[], bool] = lambda: False
    report: Report = lambda *_: None
    prompts: tuple[str | Prompt, ...] = ()
    _last: tuple[float, str, str] = field(default=(0.0, "", ""), init=False)

    def step(
        self, step: ExportStep, done: int = 0, total: int = 0,
        unit: Literal["bytes", "tensors", "layers", ""] = "", what: str = "",
    ) -> None:  # fmt: skip
        """Report progress, a few times a second at most."""
        now = time.monotonic()
        if (step, what) != self._last[1:] or now - self._last[0] > REPORT_SECONDS or done == total > 0:
            self._last = (now, step, what)
            self.report(step, done, total, unit, what)
