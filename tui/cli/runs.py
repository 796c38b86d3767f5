# ruff: noqa: T201
"""The commands for runs that continue without a terminal: ls, status, logs, stop, resume."""

import asyncio
import time
from contextlib import suppress

from rich.cells import cell_len, set_cell_size

from engine.client.backend import wait_until
from engine.client.follow import LogFollower
from engine.client.resume import parse_change, resume
from engine.client.stop import GRACE_SECONDS, Phase, stop
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, FAILED, UNDELIVERED
from engine.messages.message import say
from engine.protocol.commands import StopMode
from engine.runs.consent import give_consent, has_consent
from engine.runs.folder import RunFolder
from engine.runs.lock_owner import SavedWork
from engine.runs.run_list import RunSummary, is_alive, list_runs, summarise
from tui.cli.allow_rewards import confirm_rewards
from tui.cli.run_choice import find_run
from tui.state.run_status import cost_of, describe_cost, seconds_so_far, state_of, status_lines, status_of
from tui.state.settings import load_settings
from tui.text.amounts import duration
from tui.text.errors import fail, print_error
from tui.text.json_output import to_json
from tui.text.method import short_name
from tui.text.run_states import LOST, STATES, describe_stop_phase, missing_lines, survived_lines
from tui.text.sanitize import visible
from tui.text.translation import _, render

FOLLOW_SECONDS = 0.3
START_SECONDS = 30.0  # for a new engine to take the run's lock
TITLE_CELLS = 28
LONGER = ("training.max_steps", "training.num_train_epochs")  # with a larger value, a complete run can be resumed


def ls(as_json: bool) -> int:
    """List all runs, the live ones first."""
    runs = sorted((run for run in list_runs() if not run.draft), key=lambda run: not run.alive)
    now = time.time()
    if as_json:
        print(to_json([_as_values(run, now) for run in runs]))
        return COMPLETED
    if not runs:
        print_error(_("There are no runs yet. Start one with: loris, or loris run SPEC.yaml"))
        return COMPLETED
    rows = [_row(run, now) for run in runs]
    heads = (_("RUN"), _("TITLE"), _("STATE"), _("STEP"), _("LOSS"), _("TIME"), _("COST"), _("MODEL"), _("METHOD"))
    shown = [column for column in range(len(heads)) if any(row[column] for row in rows)]
    widths = [max(cell_len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        print("  ".join(set_cell_size(row[column], widths[column]) for column in shown).rstrip())
    return COMPLETED


def _row(run: RunSummary, now: float) -> tuple[str, ...]:
    seconds, title = seconds_so_far(run, now), visible(run.title)
    more = _("(frozen)") if run.frozen else f"({_(LOST[run.lost])})" if run.lost else ""
    return (
        ("* " if run.alive else "  ") + visible(run.name),
        "" if run.title in run.name else set_cell_size(title, min(cell_len(title), TITLE_CELLS)),
        f"{_(STATES[run.state])} {more}".rstrip(),
        f"{run.steps}/{run.total_steps}" if run.total_steps else "",
        "" if run.loss is None else f"{run.loss:.4f}",
        duration(seconds) if seconds else "",
        describe_cost(seconds) if seconds else "",
        visible(run.model.rstrip("/").rpartition("/")[2]),
        visible(short_name(run.method, run.full_finetuning)),
    )


def _as_values(run: RunSummary, now: float) -> dict[str, object]:
    seconds = seconds_so_far(run, now)
    return {
        "name": run.name, "path": str(run.folder.path), "title": run.title, "note": run.note,
        "model": run.model, "dataset": run.dataset, "method": run.method,
        "full_finetuning": run.full_finetuning, "state": run.state, "alive": run.alive, "frozen": run.frozen,
        "lost": run.lost,
        "step": run.steps, "total_steps": run.total_steps, "loss": run.loss, "checkpoint": run.checkpoint,
        "trained": run.trained, "started": run.started, "seconds": seconds, "cost": cost_of(seconds),
        "currency": load_settings().currency,
    }  # fmt: skip


def status(name: str, as_json: bool) -> int:
    """Print everything about one run."""
    try:
        run = find_run(name)
    except UserError as error:
        return fail(error)
    found = status_of(run.folder, run)
    if as_json:
        print(to_json(found))
    else:
        print("\n".join(status_lines(found)))
    return COMPLETED


def logs(name: str, follow: bool) -> int:
    """Print the end of the log; with `follow`, continue until the engine is gone."""
    try:
        run = find_run(name)
    except UserError as error:
        return fail(error)
    log = LogFollower(run.folder)
    while True:
        gone = not is_alive(run.folder)  # checked first: the final output can then be read
        for line in log.poll():
            print(visible(line), flush=follow)
        if log.has_more:
            continue
        if gone or not follow:
            break
        time.sleep(FOLLOW_SECONDS)
    if log.partial:
        print(visible(log.partial))
    return COMPLETED


def stop_run(name: str, mode: StopMode, grace: float | None) -> int:
    """Stop a run, wait until its engine is gone and print what survived."""
    try:
        run = find_run(name, live_only=True)
    except UserError as error:
        return fail(error)
    if not run.alive:
        print(_("{run} is not running.").format(run=visible(run.name)))
        print("\n".join(survived_lines(verified_survivors(run))))
        return COMPLETED
    seconds = GRACE_SECONDS[mode] if grace is None else grace
    forced = False

    def report(phase: Phase) -> None:
        nonlocal forced
        forced = forced or phase == "force"
        print_error(f"{visible(run.name)}: {describe_stop_phase(phase, seconds)}")

    survived = asyncio.run(stop(run.folder, mode, report, grace))
    if is_alive(run.folder):
        print_error(
            _("{run} could not be stopped: its process ignores every signal.").format(run=visible(run.name))
        )
        return FAILED
    ended = _("{run} was terminated.") if forced else _("{run} has stopped.")
    print(ended.format(run=visible(run.name)))
    print("\n".join(survived_lines(survived)))
    missing = state_of(run.folder).undelivered
    for line in missing_lines(missing, run.name):
        print_error(line)
    return FAILED if forced else UNDELIVERED if missing else COMPLETED


def verified_survivors(run: RunSummary) -> SavedWork:
    """What is complete on disk, with every byte verified."""
    from engine.runs.lock_owner import saved_work

    return saved_work(run.folder)


def resume_run(name: str, changes: list[str], allow_command: bool = False, allow_rewards: bool = False) -> int:
    """Resume a run in the background; returns once its engine runs.

    `allow_command`, `allow_rewards`: the user's consent to the command, and the reward functions, of its spec.
    """
    try:
        run = find_run(name)
    except UserError as error:
        return fail(error)
    if run.alive:
        print_error(_("{run} is running: look at it with loris attach.").format(run=visible(run.name)))
        return BAD_INPUT
    # The state rather than the summary's `resumable`: with more steps, a complete run can be resumed.
    ended = run.state == "completed" or (run.state == "undelivered" and not run.resumable)
    if ended and not any(change.startswith(LONGER) for change in changes):
        print_error(_("{run} is complete: there is nothing to resume.").format(run=visible(run.name)))
        for line in missing_lines(state_of(run.folder).undelivered, run.name):
            print_error(line)
        return BAD_INPUT
    try:
        wanted = tuple(map(parse_change, changes))
    except ValueError as error:
        print_error(_("Write a change as training.max_steps=200, not {text}").format(text=visible(str(error))))
        return BAD_INPUT
    try:
        if errors := confirm_rewards(load_spec(run.folder.spec), allow_rewards):
            raise SpecError(run.folder.spec, errors)
        spec, process = resume(run.folder, wanted, run.checkpoint or 0)
        _check_command(run.folder, spec.export.after_command.strip(), allow_command)
    except SpecError as error:
        return fail(error, error.path or run.folder.spec)
    except OSError as error:
        reason = say("The engine could not be started: {reason}", reason=error.strerror or str(error))
        print_error(visible(render(reason)))
        return FAILED
    asyncio.run(wait_until(lambda: is_alive(run.folder) or process.poll() is not None, START_SECONDS))
    if not is_alive(run.folder):
        print_error(_("The engine did not start. The end of its log:"))
        with suppress(OSError):
            logs(str(run.folder.path), follow=False)
        return FAILED
    step = summarise(run.folder).checkpoint
    done = _("Resumed from step {step}.").format(step=step) if step else _("Started again from the first step.")
    print(done + " " + _("Watch it with: loris attach {run}").format(run=visible(run.name)))
    return COMPLETED


def _check_command(folder: RunFolder, command: str, allow: bool) -> None:
    """Record the consent to the command after the run, or say that there is none. Raises OSError."""
    if command and allow:
        give_consent(folder, command)
    elif command and not has_consent(folder, command):
        words = _("Not allowed on this machine, and will not run after success (see --allow-command): {command}")
        print_error(words.format(command=visible(command)))
