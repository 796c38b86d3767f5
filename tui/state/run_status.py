"""The status of one run, for people and for scripts: `loris status`."""

import time

import msgspec

from engine.client.follow import Follower, LogFollower
from engine.config.change import Change
from engine.config.methods.method import Level
from engine.messages.exit_codes import FAILED, exit_code_of
from engine.protocol.events import AnyEvent
from engine.protocol.state import RunState
from engine.runs.exit_cause import exit_cause_of, resume_hint
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunStateName, RunSummary, summarise
from tui.state.settings import load_settings
from tui.text.amounts import duration, time_left
from tui.text.method import short_name
from tui.text.metrics import LEVELS, describe_metrics, lights_of
from tui.text.run import describe_changes
from tui.text.run_states import STATES, missing_lines
from tui.text.sanitize import visible
from tui.text.translation import _, render

LOG_LINES = 15


class FailureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed. `code`: for scripts. When the engine was gone before it was done, it is `killed`,
    `rebooted`, `other_machine` or `terminated`. `exit_code`: None when not known."""

    code: str
    message: str
    hint: str = ""
    field: str = ""
    stage: str = ""
    exit_code: int | None = FAILED
    changes: tuple[Change, ...] = ()
    log: tuple[str, ...] = ()


class LightReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric says about the training. `level` bad: nothing is learned."""

    metric: str
    level: Level
    message: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times in seconds; `started` and `last_event` since 1970. None when not known.

    `seconds`: how long its engines ran, which is what a rented GPU costs. `checkpoint`: the step of the newest
    complete one, from which `loris resume` continues. `metrics`: the training method's own of the newest step, by
    the trainer's names; `eval_metrics`: of the last evaluation; `lights`: what the last steps say, the worst first.
    All three are left out when there are none. `undelivered`: what the spec asks for after training and is
    not done, as "merged_16bit" or "merged_16bit → ann/model-16bit".
    """

    name: str
    path: str
    title: str
    note: str
    model: str
    dataset: str
    state: RunStateName
    alive: bool
    frozen: bool
    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    checkpoint: int | None
    trained: bool
    started: float
    last_event: float | None
    seconds: float
    training_seconds: float
    seconds_left: float | None
    cost: float | None
    currency: str
    resumed_from: int | None = None
    stop_mode: str = ""
    exit_code: int | None = None
    failure: FailureReport | None = None
    method: str = "sft"
    full_finetuning: bool = False
    metrics: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    eval_metrics: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    lights: tuple[LightReport, ...] | msgspec.UnsetType = msgspec.UNSET
    undelivered: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def state_of(folder: RunFolder) -> RunState:
    """The state after all events that are complete on disk."""
    state, events = RunState(), Follower(folder)
    while True:
        found: list[AnyEvent] = events.poll()
        for event in found:
            state.apply(event)
        if not events.has_more:
            return state


def status_of(folder: RunFolder, run: RunSummary | None = None, now: float | None = None) -> Status:
    """Read everything about a run. Never raises for a damaged one."""
    run = run or summarise(folder)
    state = state_of(folder)
    now = time.time() if now is None else now
    seconds = seconds_of(state, run.alive, now)
    return Status(
        name=run.name,
        path=str(folder.path),
        title=run.title,
        note=run.note,
        model=run.model,
        dataset=run.dataset,
        state=run.state,
        alive=run.alive,
        frozen=run.frozen,
        step=state.step.step if state.step else 0,
        total_steps=state.training.total_steps if state.training else 0,
        loss=state.step.loss if state.step else None,
        eval_loss=state.eval_loss.values[-1] if len(state.eval_loss) else None,
        checkpoint=run.checkpoint,
        trained=run.trained,
        started=run.started,
        last_event=state.last_event.time if state.last_event else None,
        seconds=seconds,
        training_seconds=state.clock.training_seconds,
        seconds_left=state.seconds_left if run.alive and state.stage == "training" else None,
        cost=cost_of(seconds),
        currency=load_settings().currency,
        resumed_from=state.resumed.step if state.resumed else None,
        stop_mode=state.stopped.mode if state.stopped else "",
        exit_code=None if run.alive else _exit_code(run, state),
        failure=_failure(folder, run, state),
        method=run.method,
        full_finetuning=run.full_finetuning,
        metrics=state.metrics or msgspec.UNSET,
        eval_metrics=state.eval_metrics or msgspec.UNSET,
        lights=_lights(run.method, state) or msgspec.UNSET,
        undelivered=state.undelivered,
        warnings=tuple(render(one.message) for one in state.notices if one.level == "warning"),
    )


def _lights(method: str, state: RunState) -> tuple[LightReport, ...]:
    return tuple(
        LightReport(metric=light.metric, level=light.level, message=render(light.message))
        for light in lights_of(method, state)
    )


def seconds_of(state: RunState, alive: bool, now: float) -> float:
    """How long the run's engines ran, up to `now` while one is alive. A clock that jumped back adds nothing."""
    since = now - state.last_event.time if alive and state.last_event else 0.0
    return state.clock.engine_seconds + max(0.0, since)


def seconds_so_far(run: RunSummary, now: float) -> float:
    """How long the run's engines ran; for a live one, up to now."""
    return run.seconds + (max(0.0, now - run.last_event) if run.alive and run.last_event else 0.0)


def cost_of(seconds: float) -> float | None:
    """The cost at the price in the settings; None when no price is set."""
    price = load_settings().price_per_hour
    return seconds / 3600 * price if price > 0 else None


def describe_cost(seconds: float) -> str:
    """For example "1.24 USD"; empty when no price is set."""
    cost = cost_of(seconds)
    return "" if cost is None else f"{cost:.2f} {visible(load_settings().currency)}".rstrip()


def _exit_code(run: RunSummary, state: RunState) -> int | None:
    if state.ended:
        return state.ended.exit_code
    why = exit_cause_of(state, run.checkpoint)
    return why.exit_code if why else None


def _failure(folder: RunFolder, run: RunSummary, state: RunState) -> FailureReport | None:
    failed = state.failed
    if failed:
        return FailureReport(
            code=failed.code, message=render(failed.message), hint=render(failed.hint) if failed.hint else "",
            field=failed.field, stage=failed.stage, exit_code=exit_code_of(failed.field),
            changes=failed.changes,
            log=log_tail(folder),
        )  # fmt: skip
    if run.broken and not run.alive:
        return FailureReport(
            code="adapter_broken", message=_("The adapter differs from what was saved: the disk may be faulty."),
            hint=render(resume_hint(run.checkpoint)), stage=state.stage, log=log_tail(folder),
        )  # fmt: skip
    if run.state == "interrupted" and (why := exit_cause_of(state, run.checkpoint)):
        return FailureReport(
            code=why.code, message=render(why.message), hint=render(why.hint), stage=state.stage,
            exit_code=why.exit_code, log=log_tail(folder),
        )  # fmt: skip
    if (
        run.trained
        and not run.alive
        and state.stage == "exporting"
        and (why := exit_cause_of(state, run.checkpoint))
    ):
        hint = _("The adapter is saved and complete; the export in progress is not. Export again: {command}")
        command = f"loris export {run.name}" + (" --rest" if state.undelivered else "")
        return FailureReport(
            code=why.code, message=render(why.message), hint=hint.format(command=command),
            stage=state.stage, exit_code=why.exit_code, log=log_tail(folder),
        )  # fmt: skip
    return None


def log_tail(folder: RunFolder, lines: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of the log, sanitised."""
    log = LogFollower(folder)
    found = log.poll()
    return tuple(visible(line) for line in found[-lines:])


def status_lines(status: Status) -> list[str]:
    """The status for people, one fact per line."""
    word = _(STATES[status.state])
    if status.frozen:
        word += " · " + _("frozen: its process was stopped by a signal")
    method = short_name(status.method, status.full_finetuning)
    lines = [f"{visible(status.title)}  {word}", "  " + visible(status.path)]
    lines.append("  " + visible(" · ".join(filter(None, (status.model, method, status.dataset)))))
    if status.total_steps:
        step = _("step {step}/{total}").format(step=status.step, total=status.total_steps)
        loss = "" if status.loss is None else _("loss {loss}").format(loss=f"{status.loss:.4f}")
        held = "" if status.eval_loss is None else _("held-out loss {loss}").format(loss=f"{status.eval_loss:.4f}")
        lines.append("  " + " · ".join(filter(None, (step, loss, held, *describe_metrics(status.metrics or {})))))
    for light in status.lights or ():
        sign, level, _style = LEVELS[light.level]
        lines.append(f"  {sign} {_(level)}: {visible(light.message)}")
    times = [_("time {time}").format(time=duration(status.seconds))]
    if status.seconds_left is not None:
        times.append(_("about {time} left").format(time=time_left(status.seconds_left)))
    if cost := describe_cost(status.seconds):
        times.append(cost)
    lines.append("  " + " · ".join(times))
    if status.checkpoint is not None:
        lines.append("  " + _("complete checkpoint of step {step}").format(step=status.checkpoint))
    lines += ["  " + line for line in missing_lines(status.undelivered, status.name)]
    if status.note:
        lines.append("  " + _("note: {note}").format(note=visible(status.note)))
    lines += ["  ⚠ " + visible(warning) for warning in status.warnings]
    if status.failure:
        lines.append("  " + visible(status.failure.message))
        if status.failure.hint:
            lines.append("  " + visible(status.failure.hint))
        lines += ["  " + line for line in describe_changes(status.failure.changes, status.name)]
        lines += ["    " + line for line in status.failure.log]
    return lines
