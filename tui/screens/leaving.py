"""Leaving Loris while a run is active: asks whether to keep or stop it, and does that."""

from textual.app import App

from engine.client.stop import GRACE_SECONDS, Phase
from engine.protocol.commands import StopMode
from tui.dialogs.stop import Leave, QuitModal, StoppingModal
from tui.state.run_session import RunSession
from tui.text.run_states import STATES, describe_stop_phase, survived_lines
from tui.text.sanitize import visible
from tui.text.translation import _

# An engine that only waits for questions ends by itself and loses nothing: no question for it.
BUSY_STAGES = ("starting", "loading", "preparing", "training", "saving", "exporting")


def must_confirm_leave(session: RunSession) -> bool:
    """Whether the attached run is busy, so that the user must confirm leaving."""
    return session.folder is not None and not session.warm and session.state.stage in BUSY_STAGES and session.alive


async def confirm_leave(app: App[None], session: RunSession) -> str | None:
    """Ask, then keep or stop the run. Returns the text to print after Loris has ended; None to stay."""
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

    def report(phase: Phase) -> None:
        phases.append(phase)
        shown.set_text(describe_stop_phase(phase, GRACE_SECONDS[mode]))

    survived = await session.backend.stop(folder, mode, report)
    ended = _("{run} was terminated.") if "force" in phases else _("{run} has stopped.")
    return "\n".join((ended.format(run=title), *survived_lines(survived)))
