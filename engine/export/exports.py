"""Exports the trained model: after training as the spec says, and later as clients request."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from engine.config.quantizations import resolve_quantizations
from engine.config.run_spec import RunSpec
from engine.export import ollama
from engine.export.adapter import export_adapter
from engine.export.atomic_folder import atomic_folder, remove_stale
from engine.export.cancellation import Cancelled, ToolFailed, cancellable
from engine.export.export_job import ExportJob
from engine.export.gguf import export_gguf
from engine.export.llama_cpp import find_llama_cpp
from engine.export.merge import export_merged_4bit, export_merged_16bit
from engine.export.plan import Plan, plan, reusable_merged
from engine.export.tool_errors import explain_tool_error
from engine.export.verify import check_adapter, check_adapter_weights, check_gguf, check_merged
from engine.messages.errors import UserError
from engine.messages.message import N_, Message, say
from engine.model.loading import Loaded
from engine.prompting.format_file import write_prompt_format
from engine.prompting.prompt_format import PromptFormat
from engine.protocol import events as ev
from engine.protocol.commands import Done, Export, ExportProgress, ExportStep
from engine.protocol.state import RunState, read_state
from engine.runs import manifest
from engine.runs.checksums import adapter_digest, write_checksums
from engine.runs.folder import RunFolder
from engine.runtime.control import Control, Job
from engine.runtime.explain import explain

NOT_EXPORTED: dict[ev.ExportKind, tuple[str, str]] = {
    "merged_16bit": ("merge_failed", N_("The merged model was not exported: {reason}")),
    "gguf": ("gguf_failed", N_("The GGUF files were not exported: {reason}")),
}
MERGED = ".merged"  # a 16-bit model that is only an intermediate result


class Exports:
    """The exports of one run's model."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, loaded: Loaded, prompt_format: PromptFormat, control: Control
    ) -> None:
        self._folder, self._spec, self._loaded, self._prompt_format = folder, spec, loaded, prompt_format
        self._control, self._record = control, control.record

    def export_trained_adapter(self) -> None:
        """Export the adapter into the run folder, replacing an earlier one. Raises `UserError` or OSError."""
        started = time.monotonic()
        self._write_adapter(self._folder.adapter)
        self._record_export("adapter", self._folder.adapter, started)

    def keep_start_adapter(self) -> None:
        """Keep a copy of the adapter that training continues from, to compare with it later. Raises as above."""
        self._write_adapter(self._folder.start_adapter)

    def _write_adapter(self, target: Path) -> None:
        with atomic_folder(target, replace=True) as folder:
            export_adapter(self._loaded, folder)
            write_prompt_format(folder, self._prompt_format)
            check_adapter_weights(self._loaded, folder)
            manifest.write_manifest(folder)

    def export_by_spec(self, warn: Callable[[str, str, Exception], None]) -> list[tuple[ev.ExportKind, Path]]:
        """Export what the spec asks for besides the adapter; returns all exports.

        A failure is only a warning: the adapter is safe.
        """
        spec = self._spec.export

        def ending() -> bool:
            return self._control.ending

        exported: list[tuple[ev.ExportKind, Path]] = [("adapter", self._folder.adapter)]
        wanted = [Export(id=0, kind="merged_16bit")] if spec.merged_16bit else []
        wanted += [Export(id=0, kind="gguf", quantizations=spec.gguf)] if spec.gguf else []
        for command in wanted:
            if ending():
                return exported
            self._record.enter("exporting")
            try:
                exported.append((command.kind, self.export(command, self._export_job(ending, None))[0]))
            except Cancelled:
                return exported
            except Exception as error:
                why = explain_tool_error(error, self._folder) if isinstance(error, ToolFailed) else explain(error)
                warn(*NOT_EXPORTED[command.kind], why)
        for kind, source in exported if spec.copy_to else ():
            if ending():
                return exported
            self._record.enter("exporting")
            try:
                self.copy(source, kind, Path(spec.copy_to).expanduser() / self._folder.name / source.name)
            except Cancelled:
                return exported
            except Exception as error:
                warn("copy_failed", N_("The result was not copied: {reason}"), error)
        return exported

    def handle_export(self, job: Job, command: Export) -> Done:
        """Carry out a client's export and return the reply. Raises `UserError` and whatever the libraries raise."""
        if command.path and not Path(command.path).expanduser().is_absolute():
            raise UserError("path_relative", say("Give an absolute path."), None, "path")
        self._record.enter("exporting")

        def cancelled() -> bool:
            return job.cancelled.is_set() or self._control.ending

        try:
            target, note = self.export(command, self._export_job(cancelled, (job, command.id)))
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
        with atomic_folder(planned.target, replace=command.replace) as folder:
            if kind == "adapter":
                export_adapter(self._loaded, folder)
                verified = check_adapter(work, folder)
            elif kind == "merged_16bit":
                export_merged_16bit(work, folder)
                verified = check_merged(work, folder, kind)
            else:
                merged = reusable_merged(self._folder, state)
                if merged is None:
                    merged = folder / MERGED
                    merged.mkdir()
                    export_merged_16bit(work, merged)
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
                write_checksums(folder, lambda name, done, all: work.step("hashing", done, all, "bytes", name))
        self._record_export(kind, planned.target, started, quantizations, verified)
        if kind == "gguf":
            note = ollama.create_in_ollama(work, planned.target, command.ollama)
        return planned.target, note

    def copy(self, source: Path, kind: ev.ExportKind, target: Path) -> None:
        """Copy an export to a folder of the user's, with checksums of the copy."""
        started = time.monotonic()
        self._remove_stale(target.parent)
        cancelled = lambda: self._control.ending  # noqa: E731
        with atomic_folder(target) as folder, cancellable(cancelled):
            shutil.copytree(source, folder, dirs_exist_ok=True)
            write_checksums(folder, lambda *_: None)
        self._record_export(kind, target, started)

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
            code = {"llama_cpp": "llama_cpp", "kind": "needs_gpu", "quantizations": "quantizations"}.get(
                found.field
            )
            code = code or ("path_exists" if found.exists and not command.replace else "no_room")
            raise UserError(code, found.error, None, found.field)
        return found

    def _remove_stale(self, parent: Path) -> None:
        """Remove what a killed engine left incomplete, and report it."""
        removed = remove_stale(parent)
        if removed:
            message = say(
                "Removed incomplete files of an earlier attempt: {paths}.",
                paths=", ".join(str(path) for path in removed),
            )
            self._record.emit(ev.Notice(code="stale_removed", message=message))

    def _export_job(self, cancelled: Callable[[], bool], client: tuple[Job, int] | None) -> ExportJob:
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
                adapter_sha256=adapter_digest(self._folder.adapter),
            )
        )
