"""Leaving Loris while a run goes on: asks what is to become of it, and sees that through."""

from __future__ import annotations

from textual.app import App

from engine.client.stop import GRACE_SECONDS, Phase
from engine.protocol.commands import StopMode
from tui.dialogs.stop import Leave, QuitModal, StoppingModal
from tui.state.run_session import RunSession
from tui.text.run_states import STATES, describe_stop_phase, survived_lines
from tui.text.sanitize import visible
from tui.text.translation import _

# An engine that only waits for questions ends by itself: nothing of it is lost, so nothing is asked.
ASKED_IN = ("starting", "loading", "preparing", "training", "saving", "exporting")


def run_to_ask_about(session: RunSession) -> bool:
    """Whether the attached run is at work on something that leaving raises a question about."""
    return session.folder is not None and not session.warm and session.state.stage in ASKED_IN and session.alive


async def may_leave(app: App[None], session: RunSession) -> str | None:
    """Ask, and do as told. Returns what to say when Loris has ended, such as what is left of a run; None: stay."""
    folder, spec, state = session.folder, session.spec, session.state
    if folder is None:
        return ""
    title = visible((spec.name if spec else "") or folder.name)
    where = _(STATES[state.stage])
    if state.step and state.training:
        step = _("step {step}/{total}").format(step=state.step.step, total=state.training.total_steps)
        where += " · " + step
    chosen: Leave | None = await app.push_screen_wait(QuitModal(title, where))
    if chosen is None:
        return None
    if chosen == "keep":
        return ""
    mode: StopMode = chosen
    shown = StoppingModal(title)
    await app.push_screen(shown)
    phases: list[Phase] = []

    def tell(phase: Phase) -> None:
        phases.append(phase)
        shown.set_text(describe_stop_phase(phase, GRACE_SECONDS[mode]))

    survived = await session.backend.stop(folder, mode, tell)
    ended = _("{run} was ended by force.") if "force" in phases else _("{run} has stopped.")
    return "\n".join((ended.format(run=title), *survived_lines(survived)))
