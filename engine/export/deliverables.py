"""The exports, copies and pushes that a spec asks for after training, and which of them are not done yet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.export import ExportSpec
from engine.config.quantizations import export_folder_name, repo_name, resolve_quantizations
from engine.export.plan import already_exported, current_result
from engine.protocol.events import ExportKind
from engine.protocol.state import RunState
from engine.runs.folder import RunFolder


@dataclass(frozen=True)
class Deliverable:
    """One thing to do. `path`: the export's folder. `target`: the folder of its copy, or the Hub repository."""

    step: Literal["export", "copy", "push"]
    kind: ExportKind
    quantizations: tuple[str, ...]
    path: Path
    target: str = ""

    @property
    def label(self) -> str:
        """In any language, for example "merged_16bit" or "merged_16bit → ann/model-16bit"."""
        return " → ".join(filter(None, (self.path.name, self.target)))


def deliverables(spec: ExportSpec, folder: RunFolder) -> list[Deliverable]:
    """All that the spec asks for, in the order in which it is done."""
    result: ExportKind = "model" if folder.model.is_dir() else "adapter"
    kinds: list[tuple[ExportKind, tuple[str, ...], Path]] = [(result, (), folder.result)]
    if spec.merged_16bit:
        kinds.append(("merged_16bit", (), folder.exports / export_folder_name("merged_16bit")))
    if spec.gguf:
        names = resolve_quantizations(spec.gguf)
        kinds.append(("gguf", names, folder.exports / export_folder_name("gguf", names)))
    found = [Deliverable("export", *one) for one in kinds[1:]]
    if spec.copy_to.strip():
        place = Path(spec.copy_to.strip()).expanduser() / folder.name
        found += [Deliverable("copy", *one, str(place / one[2].name)) for one in kinds]
    if repo := spec.push_to.strip():
        found += [Deliverable("push", *one, repo_name(repo, one[0], first=n == 0)) for n, one in enumerate(kinds)]
    return found


def undelivered(spec: ExportSpec, folder: RunFolder, state: RunState) -> list[Deliverable]:
    """What of it is not done, or was done with an earlier result."""
    return [one for one in deliverables(spec, folder) if not _is_done(one, folder, state)]


def _is_done(one: Deliverable, folder: RunFolder, state: RunState) -> bool:
    if one.step == "push":
        result = current_result(folder, state)
        return result is not None and any(
            pushed.kind == one.kind
            and f"/{pushed.repo_id}".endswith(f"/{one.target}")
            and pushed.adapter_sha256 == result.adapter_sha256 != ""
            for pushed in state.pushes
        )
    target = Path(one.target) if one.step == "copy" else one.path
    return already_exported(one.kind, target, one.quantizations, folder, state)
