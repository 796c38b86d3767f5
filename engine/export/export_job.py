"""What every way of saving is given: the model, whether to go on, and someone to tell how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from engine.model.loading import Loaded
from engine.prompting.prompt_format import PromptFormat
from engine.protocol.commands import ExportStep

TELL_SECONDS = 0.3

Tell = Callable[[ExportStep, int, int, str, str], None]


@dataclass
class ExportJob:
    """One export. `tell` gets the step, how much is done and in all (0: not known), the unit, what is in work."""

    loaded: Loaded
    prompt_format: PromptFormat
    cancelled: Callable[[], bool] = lambda: False
    tell: Tell = lambda *_: None
    prompts: tuple[str, ...] = ()
    _last: tuple[float, str, str] = field(default=(0.0, "", ""), init=False)

    def step(
        self, step: ExportStep, done: int = 0, total: int = 0,
        unit: Literal["bytes", "tensors", "layers", ""] = "", what: str = "",
    ) -> None:  # fmt: skip
        """Tell how far it is, a few times a second at most."""
        now = time.monotonic()
        if (step, what) != self._last[1:] or now - self._last[0] > TELL_SECONDS or done == total > 0:
            self._last = (now, step, what)
            self.tell(step, done, total, unit, what)
