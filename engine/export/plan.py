"""Where an export goes, how large it is, what it needs meanwhile, and whether that fits. Looks at disks."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from engine.config.quantizations import (
    QUANTIZATIONS,
    UNQUANTIZED,
    export_folder_name,
    quantization_error,
    resolve_quantizations,
)
from engine.export.llama_cpp import find_llama_cpp
from engine.messages.message import Message, say
from engine.protocol.events import ExportKind
from engine.protocol.state import RunState
from engine.runs.checksums import CHECKSUMS
from engine.runs.disk_space import write_problem
from engine.runs.folder import RunFolder

MERGED_BITS = 16.0
FOUR_BITS = 5.2  # 4 bits, their scales, and the embeddings, which stay at 16
SPARE = 1.02  # a file system's own needs


@dataclass(frozen=True)
class Plan:
    """What saving would do. Bytes of 0: not known. `temporary_bytes` come on top, and go again.

    `error` is None when it can be done; `field` is the argument to blame. `exists`: something is at the target.
    """

    target: Path
    needed_bytes: int
    free_bytes: int
    error: Message | None = None
    temporary_bytes: int = 0
    field: str = ""
    exists: bool = False


def needed(kind: ExportKind, state: RunState, quantizations: tuple[str, ...] = ()) -> int:
    """About how many bytes the result has: the adapter's own size, or so many bits a parameter."""
    parameters = state.model.parameters if state.model else 0
    match kind:
        case "adapter":
            return next((e.total_bytes for e in reversed(state.exports) if e.kind == "adapter"), 0)
        case "merged_16bit":
            return int(parameters * MERGED_BITS / 8)
        case "merged_4bit":
            return int(parameters * FOUR_BITS / 8)
    return int(sum(parameters * QUANTIZATIONS[name].bits / 8 for name in _named(quantizations)))


def temporary(
    kind: ExportKind, state: RunState, quantizations: tuple[str, ...] = (), folder: RunFolder | None = None
) -> int:
    """About how many bytes it takes besides, while it is made."""
    merged = needed("merged_16bit", state)
    if kind == "adapter":
        return 0
    # A model that was trained in 32 bits is written so first, and then halved.
    double = 2 * merged if state.model and state.model.dtype == "float32" else 0
    if kind == "merged_16bit":
        return double
    has_merged = folder is not None and reusable(folder, state) is not None
    size = 0 if has_merged else merged + double
    if kind == "gguf" and not set(_named(quantizations)) <= set(UNQUANTIZED):
        size += 0 if set(quantizations) & {"f16", "bf16"} else merged
    return size


def reusable(folder: RunFolder, state: RunState) -> Path | None:
    """A merged 16-bit model of the run that was made from the adapter as it is now; None when there is none."""
    adapter = next((e for e in reversed(state.exports) if e.kind == "adapter" and e.adapter_sha256), None)
    if adapter is None:
        return None
    for export in reversed(state.exports):
        path = Path(export.path)
        if (
            export.kind == "merged_16bit"
            and export.adapter_sha256 == adapter.adapter_sha256
            and (path / "config.json").is_file()
        ):
            return path
    return None


def already(
    kind: ExportKind, target: Path, quantizations: tuple[str, ...], folder: RunFolder, state: RunState
) -> bool:
    """Whether the run saved just this at `target`, whole, and of the adapter as it is now. See `damaged_files`."""
    adapter = next((e for e in reversed(state.exports) if Path(e.path) == folder.adapter), None)
    made = next((e for e in reversed(state.exports) if Path(e.path) == target), None)
    return (
        adapter is not None
        and made is not None
        and (made.kind, made.quantizations) == (kind, _named(quantizations))
        and made.adapter_sha256 == adapter.adapter_sha256 != ""
        and (target / CHECKSUMS).is_file()
    )


def target_of(kind: ExportKind, typed: str, folder: RunFolder, quantizations: tuple[str, ...] = ()) -> Path:
    """Where `typed` leads: into a folder that is there, under the run's name and the kind; empty: the run's own.

    What an earlier export made is the target itself, and never a place to put another one into.
    """
    typed = typed.strip()
    name = export_folder_name(kind, _named(quantizations))
    if not typed:
        return folder.exports / name
    target = Path(os.path.abspath(os.path.expanduser(typed)))
    earlier = target.name == name and (target.parent == folder.exports or target.parent.name == folder.name)
    if not target.is_dir() or earlier or (target / CHECKSUMS).is_file():
        return target
    return target / folder.name / name


def plan(
    kind: ExportKind,
    typed: str,
    folder: RunFolder,
    state: RunState,
    quantizations: tuple[str, ...] = (),
    llama_cpp: str = "",
    replace: bool = False,
) -> Plan:
    """What an `Export` of these fields would do, and why it cannot. Runs llama.cpp's program: use a thread."""
    target = target_of(kind, typed, folder, quantizations)
    size, besides = needed(kind, state, quantizations), temporary(kind, state, quantizations, folder)
    place = next((p for p in (target, *target.parents) if p.exists()), Path("/"))
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = 0
    exists = os.path.lexists(target)
    field, error = _wrong(kind, target, (size + besides) * SPARE, free, state, quantizations, llama_cpp, replace)
    return Plan(target, size, free, error, besides, field, exists)


def _named(quantizations: tuple[str, ...]) -> tuple[str, ...]:
    return () if quantization_error(quantizations) else resolve_quantizations(quantizations)


def _wrong(
    kind: ExportKind,
    target: Path,
    size: float,
    free: int,
    state: RunState,
    quantizations: tuple[str, ...],
    llama_cpp: str,
    replace: bool,
) -> tuple[str, Message | None]:
    """(the argument to blame, why it cannot be done)."""
    if kind == "merged_4bit" and state.model and state.model.device.kind == "cpu":
        return "kind", no_gpu()
    if kind == "gguf":
        if message := quantization_error(quantizations):
            return "quantizations", message
        found = find_llama_cpp(llama_cpp)
        if found.error:
            return "llama_cpp", found.error
        if message := found.lacks(resolve_quantizations(quantizations)):
            return "quantizations", message
    if os.path.lexists(target) and not replace:
        return "path", taken(target)
    if message := write_problem(target.parent):
        return "path", message
    if size > free:
        message = say(
            "It takes about {needed} GB, with what is needed meanwhile, and this disk has {free} GB free.",
            needed=round(size / 1024**3, 1), free=round(free / 1024**3, 1),
        )  # fmt: skip
        return "path", message
    return "", None


def no_gpu() -> Message:
    return say("A 4-bit model is made by bitsandbytes, which needs a GPU: save it in 16 bits, or as GGUF q4_k_m.")


def taken(target: Path) -> Message:
    return say(
        "There is something at {path} already, and nothing is overwritten: give another folder, or allow that "
        "it is replaced.",
        path=str(target),
    )
