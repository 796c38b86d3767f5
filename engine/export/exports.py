"""Saves what was trained: after training as the spec says, and later as clients ask."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from engine.config.quantizations import resolve_quantizations
from engine.config.run_spec import RunSpec
from engine.export import ollama
from engine.export.adapter import save_adapter
from engine.export.atomic_folder import filling, remove_stale
from engine.export.cancellation import Cancelled, ToolFailed, cancellable
from engine.export.export_job import ExportJob
from engine.export.gguf import save_gguf
from engine.export.llama_cpp import find_llama_cpp
from engine.export.merge import save_merged_4bit, save_merged_16bit
from engine.export.plan import Plan, plan, reusable
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

NOT_SAVED: dict[ev.ExportKind, tuple[str, str]] = {
    "merged_16bit": ("merge_failed", N_("The merged model was not saved: {reason}")),
    "gguf": ("gguf_failed", N_("The GGUF files were not saved: {reason}")),
}
MERGED = ".merged"  # a 16-bit model that is only the way to something else


class Exports:
    """The saving of one run's model."""

    def __init__(
        self, folder: RunFolder, spec: RunSpec, loaded: Loaded, prompt_format: PromptFormat, control: Control
    ) -> None:
        self._folder, self._spec, self._loaded, self._prompt_format = folder, spec, loaded, prompt_format
        self._control, self._record = control, control.record

    def save_trained(self) -> None:
        """Save the adapter into the run folder, where it replaces an earlier one. Raises `UserError` or OSError."""
        started, target = time.monotonic(), self._folder.adapter
        with filling(target, replace=True) as folder:
            save_adapter(self._loaded, folder)
            write_prompt_format(folder, self._prompt_format)
            check_adapter_weights(self._loaded, folder)
            manifest.write_manifest(folder)
        self._saved("adapter", target, started)

    def as_told(self, warn: Callable[[str, str, Exception], None]) -> list[tuple[ev.ExportKind, Path]]:
        """What the spec asks for besides the adapter; returns all that is saved then.

        What fails is a warning: the adapter is safe.
        """
        spec = self._spec.export

        def ending() -> bool:
            return self._control.ending

        saved: list[tuple[ev.ExportKind, Path]] = [("adapter", self._folder.adapter)]
        wanted = [Export(id=0, kind="merged_16bit")] if spec.merged_16bit else []
        wanted += [Export(id=0, kind="gguf", quantizations=spec.gguf)] if spec.gguf else []
        for command in wanted:
            if ending():
                return saved
            self._record.enter("exporting")
            try:
                saved.append((command.kind, self.save(command, self._work(ending, None))[0]))
            except Cancelled:
                return saved
            except Exception as error:
                why = explain_tool_error(error, self._folder) if isinstance(error, ToolFailed) else explain(error)
                warn(*NOT_SAVED[command.kind], why)
        for kind, source in saved if spec.copy_to else ():
            if ending():
                return saved
            self._record.enter("exporting")
            try:
                self.copy(source, kind, Path(spec.copy_to).expanduser() / self._folder.name / source.name)
            except Cancelled:
                return saved
            except Exception as error:
                warn("copy_failed", N_("The result was not copied: {reason}"), error)
        return saved

    def carry_out(self, job: Job, command: Export) -> Done:
        """Do what a client asks, and return the answer. Raises `UserError` and whatever the libraries do."""
        if command.path and not Path(command.path).expanduser().is_absolute():
            raise UserError("path_relative", say("Give the whole path, from / on."), None, "path")
        self._record.enter("exporting")

        def cancelled() -> bool:
            return job.cancelled.is_set() or self._control.ending

        try:
            target, note = self.save(command, self._work(cancelled, (job, command.id)))
        except Cancelled:
            message = say("Saving was given up, and nothing is left of it.")
            raise UserError("cancelled", message) from None
        except ToolFailed as error:
            raise explain_tool_error(error, self._folder) from error
        return Done(id=command.id, path=str(target), note=note)

    def save(self, command: Export, work: ExportJob) -> tuple[Path, Message | None]:
        """Save under a temporary name, check, and rename; returns where it is and what is left to do."""
        started, kind = time.monotonic(), command.kind
        state = read_state(self._folder.events)
        quantizations = (
            resolve_quantizations(command.quantizations) if kind == "gguf" and command.quantizations else ()
        )
        planned = self._planned(command, state)
        self._tidy(planned.target.parent)
        note = None
        with filling(planned.target, replace=command.replace) as folder:
            if kind == "adapter":
                save_adapter(self._loaded, folder)
                verified = check_adapter(work, folder)
            elif kind == "merged_16bit":
                save_merged_16bit(work, folder)
                verified = check_merged(work, folder, kind)
            else:
                merged = reusable(self._folder, state)
                if merged is None:
                    merged = folder / MERGED
                    merged.mkdir()
                    save_merged_16bit(work, merged)
                if kind == "merged_4bit":
                    save_merged_4bit(work, merged, folder)
                    verified = check_merged(work, folder, kind)
                else:
                    llama_cpp = find_llama_cpp(command.llama_cpp)
                    files = save_gguf(work, merged, folder, self._folder.name, quantizations, llama_cpp)
                    verified = check_gguf(work, merged, files)
                    ollama.write_modelfile(work, folder, files, self._spec, self._record)
                shutil.rmtree(folder / MERGED, ignore_errors=True)
            if kind != "gguf":  # whose Modelfile has it
                write_prompt_format(folder, self._prompt_format)
            with cancellable(work.cancelled):
                write_checksums(folder, lambda name, done, all: work.step("hashing", done, all, "bytes", name))
        self._saved(kind, planned.target, started, quantizations, verified)
        if kind == "gguf":
            note = ollama.create(work, planned.target, command.ollama)
        return planned.target, note

    def copy(self, source: Path, kind: ev.ExportKind, target: Path) -> None:
        """Copy something saved to a folder of the user's, with the checksums of what is there then."""
        started = time.monotonic()
        self._tidy(target.parent)
        cancelled = lambda: self._control.ending  # noqa: E731
        with filling(target) as folder, cancellable(cancelled):
            shutil.copytree(source, folder, dirs_exist_ok=True)
            write_checksums(folder, lambda *_: None)
        self._saved(kind, target, started)

    def _planned(self, command: Export, state: RunState) -> Plan:
        """Where it goes. Raises `UserError` when it cannot: before anything is begun."""
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

    def _tidy(self, parent: Path) -> None:
        """Remove what an engine that was killed left half-made, and name it."""
        removed = remove_stale(parent)
        if removed:
            message = say(
                "Removed what an earlier attempt left half-made: {paths}.",
                paths=", ".join(str(path) for path in removed),
            )
            self._record.emit(ev.Notice(code="stale_removed", message=message))

    def _work(self, cancelled: Callable[[], bool], client: tuple[Job, int] | None) -> ExportJob:
        def tell(step: ExportStep, done: int, total: int, unit: str, what: str) -> None:
            if client:
                job, number = client
                job.reply(ExportProgress(id=number, step=step, done=done, total=total, unit=unit, what=what))  # type: ignore[arg-type]

        return ExportJob(self._loaded, self._prompt_format, cancelled, tell, self._spec.generation.prompts)

    def _saved(
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
