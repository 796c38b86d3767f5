"""What is said when a run is resumed."""

from __future__ import annotations

from tui.text.translation import _


def resume_words(step: int | None) -> str:
    """Said when a run is taken up again from the checkpoint of this step."""
    if step:
        return _("Going on from step {step} …").format(step=step)
    return _("Starting again from the first step …")
