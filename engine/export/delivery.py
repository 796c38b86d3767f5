"""Carries out what the spec asks for after training, and records what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.run_spec import RunSpec
from engine.export.cancellation import Cancelled, ToolFailed
from engine.export.deliverables import Deliverable, undelivered
from engine.export.tool_errors import explain_tool_error
from engine.messages.message import N_
from engine.protocol import events as ev
from engine.protocol.commands import Export
from engine.protocol.state import RunState, read_state
from engine.runs.folder import RunFolder
from engine.runtime.explain import explain

if TYPE_CHECKING:  # Exports loads the training libraries
    from engine.export.exports import Exports
    from engine.export.push_queue import PushQueue
    from engine.runtime.control import Job
    from engine.runtime.event_writer import EventWriter

NOT_DONE: dict[str, tuple[str, str]] = {
    "merged_16bit": ("merge_failed", N_("The merged model was not exported: {reason}")),
    "gguf": ("gguf_failed", N_("The GGUF files were not exported: {reason}")),
    "copy": ("copy_failed", N_("The result was not copied: {reason}")),
}


class Delivery:
    """The exports, copies and pushes of one spec. `warn` reports a failure, which does not end the others."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        exports: Exports,
        pushes: PushQueue,
        record: EventWriter,
        warn: Callable[[str, str, Exception], None],
    ) -> None:
        self._folder, self._spec, self._exports, self._pushes = folder, spec.export, exports, pushes
        self._record, self._warn = record, warn

    def announce(self) -> None:
        """Record what is to be done before it begins: an engine that is killed meanwhile leaves this behind."""
        self._find_missing(read_state(self._folder.events))

    def run(
        self, cancelled: Callable[[], bool], client: tuple[Job, int] | None = None, token: str = ""
    ) -> list[Deliverable]:
        """Do what is not done yet; returns what is still missing. `client` receives the progress."""
        state = read_state(self._folder.events)
        missing = self._find_missing(state)
        for one in tuple(missing):
            if cancelled():
                break
            if one.step != "export" and any(e.step == "export" and e.path == one.path for e in missing):
                continue  # its export failed
            self._record.enter("exporting")
            if self._carry_out(one, state, cancelled, client, token):
                missing.remove(one)
                self._report(missing)
        return missing

    def _find_missing(self, state: RunState) -> list[Deliverable]:
        """What is missing, recorded where the events say something else."""
        missing = undelivered(self._spec, self._folder, state)
        if tuple(one.label for one in missing) != state.undelivered:
            self._report(missing)
        return missing

    def _carry_out(
        self,
        one: Deliverable,
        state: RunState,
        cancelled: Callable[[], bool],
        client: tuple[Job, int] | None,
        token: str,
    ) -> bool:
        """Whether it is done."""
        try:
            match one.step:
                case "push":
                    # A repository that this run filled before may be updated.
                    known = any(f"/{done.repo_id}".endswith(f"/{one.target}") for done in state.pushes)
                    return self._pushes.push(one, self._spec.push_private, token, known, cancelled)
                case "copy":
                    target = Path(one.target)
                    self._exports.copy(one, target, _made_by_run(target, state), cancelled)
                case _:
                    replace = _made_by_run(one.path, state)
                    command = Export(id=0, kind=one.kind, quantizations=one.quantizations, replace=replace)
                    self._exports.export(command, self._exports.job(cancelled, client))
            return True
        except Cancelled:
            return False
        except Exception as error:
            why = explain_tool_error(error, self._folder) if isinstance(error, ToolFailed) else explain(error)
            self._warn(*NOT_DONE["copy" if one.step == "copy" else one.kind], why)
            return False

    def _report(self, missing: list[Deliverable]) -> None:
        self._record.emit(ev.Undelivered(missing=tuple(one.label for one in missing)))


def _made_by_run(target: Path, state: RunState) -> bool:
    """Whether the run exported to this folder before, with an earlier adapter: then it may be replaced."""
    return any(Path(done.path) == target for done in state.exports)
