"""Exports the trained model: after training as the spec says, and later as clients request."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from engine.config.quantizations import resolve_quantizations
from engine.config.run_spec import RunSpec
from engine.export import ollama
from engine.export.atomic_folder import atomic_folder, refuse_existing
from engine.export.cancellation import Cancelled, ToolFailed, cancellable
from engine.export.copy_export import copy_export
from engine.export.deliverables import Deliverable
from engine.export.export_job import ExportJob
from engine.export.gguf import export_gguf
from engine.export.llama_cpp import find_llama_cpp
from engine.export.merge import copy_in_16_bits, export_merged_4bit, export_merged_16bit
from engine.export.plan import Plan, plan, reusable_merged
from engine.export.result import export_result
from engine.export.tool_errors import explain_tool_error
from engine.export.verify import check_adapter, check_adapter_weights, check_gguf, check_merged, check_model_weights
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.model.loading import Loaded
from engine.prompting.format_file import write_prompt_format
from engine.prompting.prompt_format import PromptFormat
from engine.protocol import events as ev
from engine.protocol.commands import Done, Export, ExportProgress, ExportStep
from engine.protocol.state import RunState, read_state
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runs.own_files import remove_stale
from engine.runtime.control import Control, Job

MERGED = ".merged"  # a 16-bit model that is only an intermediate result


class Exports:
    """The exports of one run's model."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, loaded: Loaded, prompt_format: PromptFormat, control: Control
    ) -> None:
        self._folder, self._spec, self._loaded, self._prompt_format = folder, spec, loaded, prompt_format
        self._control, self._record = control, control.record

    def export_result(self) -> None:
        """Export the adapter, or the whole model, into the run folder, replacing an earlier one.

        Raises `UserError` or OSError.
        """
        started, whole = time.monotonic(), self._loaded.whole
        target = self._folder.model if whole else self._folder.adapter
        verified = self._write_result(target)
        self._record_export("model" if whole else "adapter", target, started, verified=verified)

    def keep_start_adapter(self) -> None:
        """Keep a copy of the adapter that training continues from, to compare with it later. Raises as above."""
        self._write_result(self._folder.start_adapter)

    def _write_result(self, target: Path) -> Message | None:
        """Returns how it was checked, where there is more to say than that it was."""
        verified = None
        with atomic_folder(target, replace=True, aside=True, on_kept=self._report_kept) as folder:
            export_result(self._loaded, folder)
            write_prompt_format(folder, self._prompt_format)
            if self._loaded.whole:
                verified = check_model_weights(self._loaded, folder)
            else:
                check_adapter_weights(self._loaded, folder)
            manifest.write_manifest(folder)
        return verified

    def handle_export(self, job: Job, command: Export) -> Done:
        """Carry out a client's export and return the reply. Raises `UserError` and whatever the libraries raise."""
        if command.path and not Path(command.path).expanduser().is_absolute():
            raise UserError("path_relative", say("Give an absolute path."), None, "path")
        self._record.enter("exporting")

        def cancelled() -> bool:
            return job.cancelled.is_set() or self._control.ending

        try:
            target, note = self.export(command, self.job(cancelled, (job, command.id)))
        except Cancelled:
            message = say("The export was cancelled, and nothing is left of it.")
            raise UserError("cancelled", message) from None
        except ToolFailed as error:
            raise explain_tool_error(error, self._folder) from error
        return Done(id=command.id, path=str(target), note=note)

    def export(self, command: Export, work: ExportJob) -> tuple[Path, Message | None]:
        """Export under a temporary name, check, and rename; returns the path and a note on what is left to do."""
        started, kind = time.monotonic(), command.kind
        state = read_state(self._folder.events)
        quantizations = (
            resolve_quantizations(command.quantizations) if kind == "gguf" and command.quantizations else ()
        )
        planned = self._checked_plan(command, state)
        self._remove_stale(planned.target.parent)
        note = None
        with atomic_folder(planned.target, replace=command.replace, on_kept=self._report_kept) as folder:
            if kind == "adapter":
                export_result(self._loaded, folder)
                verified = check_adapter(work, folder)
            elif kind == "merged_16bit":
                self._write_16bit(work, folder)
                verified = check_merged(work, folder, kind)
            else:
                merged = reusable_merged(self._folder, state)
                if merged is None:
                    merged = folder / MERGED
                    merged.mkdir()
                    self._write_16bit(work, merged)
                if kind == "merged_4bit":
                    export_merged_4bit(work, merged, folder)
                    verified = check_merged(work, folder, kind, merged)
                else:
                    llama_cpp = find_llama_cpp(command.llama_cpp)
                    files = export_gguf(work, merged, folder, self._folder.name, quantizations, llama_cpp)
                    verified = check_gguf(work, merged, files)
                    ollama.write_modelfile(work, folder, files, self._spec, self._record)
                shutil.rmtree(folder / MERGED, ignore_errors=True)
            if kind != "gguf":  # its Modelfile has it
                write_prompt_format(folder, self._prompt_format)
            with cancellable(work.cancelled):
                manifest.seal_export(folder, lambda name, done, all: work.step("hashing", done, all, "bytes", name))
        self._record_export(kind, planned.target, started, quantizations, verified)
        if kind == "gguf":
            note = ollama.create_in_ollama(work, planned.target, command.ollama)
        return planned.target, note

    def _write_16bit(self, work: ExportJob, folder: Path) -> None:
        """Write the trained model in 16 bits. Raises `Cancelled`, or whatever the libraries raise."""
        if self._loaded.whole:
            copy_in_16_bits(work, self._folder.model, folder)
        else:
            export_merged_16bit(work, folder)

    def copy(self, one: Deliverable, target: Path, replace: bool, cancelled: Callable[[], bool]) -> None:
        """Copy an export to a folder of the user's. Raises `UserError`, `Cancelled` or OSError."""
        started = time.monotonic()
        self._remove_stale(target.parent)
        copy_export(one.path, target, replace, cancelled, self._report_kept)
        self._record_export(one.kind, target, started, one.quantizations)

    def _checked_plan(self, command: Export, state: RunState) -> Plan:
        """The plan. Raises `UserError` when it cannot be carried out, before anything is started."""
        found = plan(
            command.kind,
            command.path,
            self._folder,
            state,
            command.quantizations,
            command.llama_cpp,
            command.replace,
        )
        if found.error:
            if found.field == "path":
                refuse_existing(found.target, command.replace)
            needs = "reward_model" if self._loaded.scores else "needs_gpu"
            codes = {
                "llama_cpp": "llama_cpp",
                "kind": needs,
                "adapter": "no_adapter",
                "quantizations": "quantizations",
            }
            raise UserError(codes.get(found.field, "no_room"), found.error, None, found.field)
        return found

    def _report_kept(self, paths: list[Path]) -> None:
        """Report what the user had put into the folder that was replaced."""
        message = say(
            "Not made by Loris, or changed since, and therefore kept: {paths}.", paths=", ".join(map(str, paths))
        )
        self._record.emit(ev.Notice(code="kept_files", message=message, level="warning"))

    def _remove_stale(self, parent: Path) -> None:
        """Remove what a killed engine left incomplete, and report it."""
        removed = remove_stale(parent)
        if removed:
            message = say(
                "Removed incomplete files of an earlier attempt: {paths}.",
                paths=", ".join(str(path) for path in removed),
            )
            self._record.emit(ev.Notice(code="stale_removed", message=message))

    def job(self, cancelled: Callable[[], bool], client: tuple[Job, int] | None) -> ExportJob:
        """The job of an export; `client` (and the number of its request) receives the progress."""

        def report(step: ExportStep, done: int, total: int, unit: str, what: str) -> None:
            if client:
                job, number = client
                job.reply(ExportProgress(id=number, step=step, done=done, total=total, unit=unit, what=what))  # type: ignore[arg-type]

        return ExportJob(self._loaded, self._prompt_format, cancelled, report, self._spec.generation.prompts)

    def _record_export(
        self,
        kind: ev.ExportKind,
        target: Path,
        started: float,
        quantizations: tuple[str, ...] = (),
        verified: Message | None = None,
    ) -> None:
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        self._record.emit(
            ev.Exported(
                kind=kind,
                path=str(target),
                total_bytes=size,
                seconds=time.monotonic() - started,
                quantizations=quantizations,
                verified=verified,
                adapter_sha256=manifest.result_digest(self._folder.result),
            )
        )
