"""What the early engine is doing, in a few words for the top line of the wizard."""

from __future__ import annotations

from engine.config.run_spec import ModelSpec
from tui.state.run_session import EngineLink
from tui.text.translation import N_, _, render

STAGES = {
    "starting": N_("engine: starting …"),
    "loading": N_("engine: loading the model …"),
    "ready": N_("engine: ready"),
}


def engine_words(link: EngineLink, wanted: ModelSpec | None) -> tuple[str, str]:
    """(words, tone) with the tone "", "ready" or "failed"; no words without an early engine."""
    if not link.warm:
        return "", ""
    if link.warm_model != wanted:
        return _("engine: has another model"), ""
    if link.state.failed:
        return _("engine: failed: {why}").format(why=render(link.state.failed.message)), "failed"
    if link.state.ended or link.lost:
        return _("engine: ended by itself"), "failed"
    return _(STAGES.get(link.state.stage, "")), "ready" if link.state.stage == "ready" else ""
