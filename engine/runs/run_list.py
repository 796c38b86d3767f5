"""Lists the runs of this user and which of them are alive; deletes those that are not."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.files import open_file
from engine.config.paths import runs_folder
from engine.messages.errors import UserError, last_line
from engine.messages.message import say
from engine.protocol.events import AnyEvent, EngineStarted, StageChanged, Step, TrainingStarted, decode
from engine.protocol.state import RunState, fold
from engine.runs import manifest, pid_file
from engine.runs.consent import withdraw_consent
from engine.runs.exit_cause import ExitCauseCode, exit_cause_of
from engine.runs.folder import RunFolder
from engine.runs.labels import read_label
from engine.runs.lock_file import acquire_lock
from engine.runs.lock_owner import is_frozen
from engine.runs.own_files import remove_run_files
from engine.runs.restarts import find_lines
from engine.runs.resumable import is_resumable, is_trained
from engine.runs.summary_fields import read_summary_fields

# The stages of a live engine, then the outcomes of one that has exited. "undelivered": trained, but not everything
# was exported, copied or pushed as the spec asks.
RunStateName = Literal[
    "starting", "loading", "ready", "preparing", "training", "saving", "serving", "exporting",
    "completed", "stopped", "undelivered", "failed", "interrupted", "unreadable",
]  # fmt: skip

HEAD_BYTES = TAIL_BYTES = 64 << 10
LATEST = 253_402_300_799.0  # the last second of the year 9999, since 1970
DRAFT_SECONDS = 3600.0  # after which a draft whose engine has exited is deleted
FAILED_DRAFT_SECONDS = 7 * 86400.0  # its log says why
START_SECONDS = 30.0  # for a new process to acquire its lock before it counts as lost


@dataclass(frozen=True)
class RunSummary:
    """A run in the list. `started`: seconds since 1970. `steps`, `total_steps`: 0 when unknown.

    `draft`: an engine was started early and never trained, so there is nothing to return to.
    `trained`: there is an adapter to chat with.
    """

    folder: RunFolder
    alive: bool
    state: RunStateName
    title: str
    model: str
    dataset: str
    steps: int
    total_steps: int
    loss: float | None
    started: float
    trained: bool
    draft: bool
    checkpoint: int | None = None  # the step of the newest complete checkpoint
    frozen: bool = False  # its engine is stopped by a signal (kill -STOP) and cannot answer
    seconds: float = 0.0  # how long its engines ran, in all
    last_event: float | None = None  # when, in seconds since 1970
    note: str = ""  # the user's note
    broken: bool = False  # its adapter is damaged, as by a disk fault: it is not offered
    lost: ExitCauseCode | None = None  # why the engine of an interrupted run died
    resumable: bool = False  # training can be resumed, and no engine is running
    method: str = "sft"
    full_finetuning: bool = False

    @property
    def name(self) -> str:
        return self.folder.name


def is_alive(folder: RunFolder) -> bool:
    """Whether an engine runs on this folder, that is, holds its lock. The kernel releases that on any exit."""
    try:
        handle = open_file(folder.lock)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: no engine can hold one
    finally:
        os.close(handle)


def list_runs() -> list[RunSummary]:
    """All runs, the newest first. Reads only the ends of each events file, however long it is."""
    found: list[RunSummary] = []
    with suppress(OSError):
        for entry in os.scandir(runs_folder()):
            found += _summaries(Path(os.path.realpath(entry.path)))
    return sorted(found, key=lambda run: (run.started, run.name), reverse=True)


def _summaries(path: Path) -> list[RunSummary]:
    """The run in this folder, if there is one. Whatever is wrong with it, the others are listed."""
    try:
        if not (path / "spec.yaml").is_file():
            return []
        for entry in os.scandir(path):
            if not entry.is_file() and not entry.is_dir() and _blocks_readers(entry):
                raise UserError("not_a_run", say("{path} is not a file.", path=entry.path))
        return [summarise(RunFolder(path))]
    except Exception as error:  # in files of any content, perhaps someone else's
        return [
            RunSummary(
                folder=RunFolder(path), alive=False, state="unreadable", title=path.name, model="", dataset="",
                steps=0, total_steps=0, loss=None, started=0.0, trained=False, draft=False, note=last_line(error),
            )
        ]  # fmt: skip


def _blocks_readers(entry: os.DirEntry[str]) -> bool:
    """Whether it is a pipe or a device, which may never end."""
    try:
        mode = entry.stat().st_mode
    except OSError:
        return False  # a link to nowhere
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def summarise(folder: RunFolder) -> RunSummary:
    """What the list shows of one run. Never raises for a damaged one."""
    alive = is_alive(folder)
    events = list(_head_and_tail(folder.events))
    state = fold(events)
    fields = read_summary_fields(folder)
    first = next((e for e in events if isinstance(e, EngineStarted)), None)
    training = next((e for e in reversed(events) if isinstance(e, TrainingStarted)), None)
    trained = is_trained(folder, state)
    kept = manifest.list_checkpoints(folder.checkpoints)
    label = read_label(folder)
    name = _state_name(state, alive, trained, _age(folder) < START_SECONDS and not pid_file.is_gone(folder))
    cause = exit_cause_of(state, None) if name == "interrupted" else None
    checkpoint = kept[0].step if kept else None
    draft = _started_early(folder, events) and not (trained or kept or _training_began(events))
    return RunSummary(
        folder=folder,
        alive=alive,
        seconds=_possible(state.clock.engine_seconds),
        last_event=_possible(events[-1].time) if events else None,
        note=label.note,
        checkpoint=checkpoint,
        frozen=alive and is_frozen(folder),
        state=name,
        lost=cause.code if cause else None,
        broken=manifest.is_damaged(folder.result),
        title=label.title or fields.name or folder.name,
        model=fields.model,
        dataset=fields.dataset,
        method=fields.method,
        full_finetuning=fields.full_finetuning,
        steps=state.step.step if state.step else 0,
        total_steps=training.total_steps if training else 0,
        loss=state.step.loss if state.step else None,
        started=_possible(first.time if first else time.time() - _age(folder)),
        trained=trained,
        draft=draft,
        resumable=not alive and not draft and name != "starting" and is_resumable(state, trained, checkpoint),
    )


def _possible(seconds: float) -> float:
    """A time that can be shown, whatever an event says."""
    return min(max(0.0, seconds), LATEST)


def _state_name(state: RunState, alive: bool, trained: bool, may_start: bool) -> RunStateName:
    """The state to show for a run. `may_start`: its first engine may not have acquired the lock yet."""
    if alive and state.stage != "ended":
        return state.stage
    if state.finished and trained and not state.unsaved:
        # Whatever happened to a later engine that served it.
        return "undelivered" if state.undelivered else state.finished.outcome
    if state.failed:
        return "failed"
    if state.stopped:
        return "stopped"
    if state.started is None and may_start:
        return "starting"
    if trained and state.ended and not state.unsaved:
        return "undelivered" if state.undelivered else "completed"
    return "interrupted"


def _training_began(events: list[AnyEvent]) -> bool:
    return any(
        isinstance(e, Step | TrainingStarted) or (isinstance(e, StageChanged) and e.stage == "preparing")
        for e in events
    )


def _started_early(folder: RunFolder, events: list[AnyEvent]) -> bool:
    ready = any(isinstance(e, StageChanged) and e.stage == "ready" for e in events)
    return ready or folder.draft.exists()


def _age(folder: RunFolder) -> float:
    """Seconds since the spec was written."""
    try:
        return max(0.0, time.time() - folder.spec.stat().st_mtime)
    except OSError:
        return 0.0


def _head_and_tail(path: Path) -> Iterator[AnyEvent]:
    """The first and the last events of a run, and those in between that are needed to add up its time."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            lines = file.read(HEAD_BYTES).split(b"\n")
            rest = os.fstat(file.fileno()).st_size - file.tell()
            torn = lines.pop()
            if 0 < rest <= TAIL_BYTES:
                lines += (torn + file.read()).split(b"\n")[:-1]
            elif rest:
                lines += find_lines(path, file, HEAD_BYTES, HEAD_BYTES + rest - TAIL_BYTES)
                file.seek(-TAIL_BYTES, os.SEEK_END)
                lines += file.read().split(b"\n")[1:-1]
    except OSError:
        return
    for line in lines:
        if event := decode(line):
            yield event


def delete_run(folder: RunFolder) -> list[Path]:
    """Delete what Loris made in a run's folder, and its link in the list; returns what is left: the user's files.

    Raises `UserError` while its engine is alive or for a folder that is not a listed run, and OSError.
    """
    path = Path(os.path.realpath(folder.path))
    links = [Path(e.path) for e in os.scandir(runs_folder()) if os.path.realpath(e.path) == str(path)]
    run = RunFolder(path)
    if not links or not run.spec.is_file() or not (run.summary.exists() or run.events.exists()):
        raise UserError("not_a_run", say("{folder} is not the folder of a run.", folder=str(path)))
    with locked(run):
        remove_run_files(run)
    withdraw_consent(run)
    for link in links:
        if link.is_symlink() and link.name == path.name:  # as it was made; another one is the user's
            link.unlink()
    return sorted(path.iterdir()) if path.exists() else []


def delete_drafts(now: float | None = None) -> list[RunFolder]:
    """Delete old drafts: engines that were kept warm and then killed. Returns the deleted folders."""
    deleted = []
    for run in list_runs():
        kept = FAILED_DRAFT_SECONDS if run.state == "failed" else DRAFT_SECONDS
        if run.draft and not run.alive and (now or time.time()) - run.started > kept:
            with suppress(UserError, OSError):
                delete_run(run.folder)
                deleted.append(run.folder)
    return deleted


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold this folder's lock, so that no engine can start. Raises `UserError` when one is running."""
    try:
        handle = acquire_lock(folder.lock)
    except BlockingIOError:
        message = say("{run} is still running: stop it first.", run=folder.name)
        raise UserError("busy", message) from None
    try:
        yield
    finally:
        os.close(handle)
