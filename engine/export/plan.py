"""Where an export goes, its size, the temporary space it needs, and whether that fits. Reads the disks."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.config.local_paths import non_utf8_path
from engine.config.quantizations import (
    QUANTIZATIONS,
    UNQUANTIZED,
    export_folder_name,
    quantization_error,
    resolve_quantizations,
)
from engine.export.llama_cpp import find_llama_cpp
from engine.messages.message import Message, say
from engine.protocol.events import RESULTS, Exported, ExportKind
from engine.protocol.state import RunState
from engine.runs.checksums import CHECKSUMS
from engine.runs.disk_space import write_problem
from engine.runs.folder import RunFolder
from engine.runs.own_files import is_export

MERGED_BITS = 16.0
FOUR_BITS = 5.2  # 4 bits, their scales, and the embeddings, which stay at 16
SPARE = 1.02  # file system overhead


@dataclass(frozen=True)
class Plan:
    """What an export would do. Bytes of 0: not known. `temporary_bytes` are needed in addition, during the export.

    `error` is None when it can be done; `field` is the argument at fault. `exists`: the target exists already.
    """

    target: Path
    needed_bytes: int
    free_bytes: int
    error: Message | None = None
    temporary_bytes: int = 0
    field: str = ""
    exists: bool = False


def export_bytes(kind: ExportKind, state: RunState, quantizations: tuple[str, ...] = ()) -> int:
    """Estimated bytes of the result: the adapter's size, or bits per parameter."""
    parameters = state.model.parameters if state.model else 0
    match kind:
        case "adapter" | "model":
            return next((e.total_bytes for e in reversed(state.exports) if e.kind == kind), 0)
        case "merged_16bit":
            return int(parameters * MERGED_BITS / 8)
        case "merged_4bit":
            return int(parameters * FOUR_BITS / 8)
    return int(sum(parameters * QUANTIZATIONS[name].bits / 8 for name in _named(quantizations)))


def temporary_bytes(
    kind: ExportKind, state: RunState, quantizations: tuple[str, ...] = (), folder: RunFolder | None = None
) -> int:
    """Estimated bytes that it needs in addition, during the export."""
    merged = export_bytes("merged_16bit", state)
    if kind in RESULTS:
        return 0
    # A model trained in 32 bits is written in 32 first, then converted.
    double = 2 * merged if state.model and state.model.dtype == "float32" else 0
    if kind == "merged_16bit":
        return double
    has_merged = folder is not None and reusable_merged(folder, state) is not None
    size = 0 if has_merged else merged + double
    if kind == "gguf" and not set(_named(quantizations)) <= set(UNQUANTIZED):
        size += 0 if set(quantizations) & {"f16", "bf16"} else merged
    return size


def reusable_merged(folder: RunFolder, state: RunState) -> Path | None:
    """A 16-bit model of the run, made from its current result, or the result itself; None when there is none."""
    result = state.result
    if result is None or not result.adapter_sha256:
        return None
    if result.kind == "model" and _is_in_16_bits(folder.model):
        return folder.model
    for export in reversed(state.exports):
        path = Path(export.path)
        if (
            export.kind == "merged_16bit"
            and export.adapter_sha256 == result.adapter_sha256
            and (path / "config.json").is_file()
        ):
            return path
    return None


def _is_in_16_bits(model: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((model / "config.json").read_text("utf-8"))
        return (config.get("dtype") or config.get("torch_dtype")) in ("bfloat16", "float16")
    return False


def current_result(folder: RunFolder, state: RunState) -> Exported | None:
    """The event of the result that is in the run folder."""
    return next((e for e in reversed(state.exports) if Path(e.path) == folder.result), None)


def already_exported(
    kind: ExportKind, target: Path, quantizations: tuple[str, ...], folder: RunFolder, state: RunState
) -> bool:
    """Whether the run exported just this to `target`, complete, from the current result. See `damaged_files`."""
    result = current_result(folder, state)
    made = next((e for e in reversed(state.exports) if Path(e.path) == target), None)
    return (
        result is not None
        and made is not None
        and (made.kind, made.quantizations) == (kind, _named(quantizations))
        and made.adapter_sha256 == result.adapter_sha256 != ""
        and (target / CHECKSUMS).is_file()
    )


def target_of(kind: ExportKind, typed: str, folder: RunFolder, quantizations: tuple[str, ...] = ()) -> Path:
    """The target of `typed`: in an existing folder, below the run's name and kind; empty: the run's own exports.

    An earlier export is the target itself, never a folder to export into.
    """
    typed = typed.strip()
    name = export_folder_name(kind, _named(quantizations))
    if not typed:
        return folder.exports / name
    target = Path(os.path.abspath(os.path.expanduser(typed)))
    earlier = target.name == name and (target.parent == folder.exports or target.parent.name == folder.name)
    if not target.is_dir() or earlier or is_export(target.resolve()):
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
    """What an `Export` with these fields would do, or why it cannot. Runs llama.cpp's program: use a thread."""
    target = target_of(kind, typed, folder, quantizations)
    size, besides = export_bytes(kind, state, quantizations), temporary_bytes(kind, state, quantizations, folder)
    place = next((p for p in (target, *target.parents) if p.exists()), Path("/"))
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = 0
    exists = os.path.lexists(target)
    field, error = _problem(kind, target, (size + besides) * SPARE, free, state, quantizations, llama_cpp, replace)
    return Plan(target, size, free, error, besides, field, exists)


def _named(quantizations: tuple[str, ...]) -> tuple[str, ...]:
    return () if quantization_error(quantizations) else resolve_quantizations(quantizations)


def _problem(
    kind: ExportKind,
    target: Path,
    size: float,
    free: int,
    state: RunState,
    quantizations: tuple[str, ...],
    llama_cpp: str,
    replace: bool,
) -> tuple[str, Message | None]:
    """(the argument at fault, why it cannot be done)."""
    if message := non_utf8_path(target):
        return "path", message
    if state.model and state.model.scores and kind in ("merged_4bit", "gguf"):
        return "kind", no_scores()
    if kind in RESULTS and state.whole:
        return "adapter", say("All weights were trained: there is no adapter. Export the model in 16 bits.")
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
    if message := target_problem(target, replace):
        return "path", message
    if message := write_problem(target.parent):
        return "path", message
    if size > free:
        message = say(
            "It needs about {needed} GB, temporary files included, and this disk has {free} GB free.",
            needed=round(size / 1024**3, 1), free=round(free / 1024**3, 1),
        )  # fmt: skip
        return "path", message
    return "", None


def no_scores() -> Message:
    return say(
        "A reward model is exported as adapter or in 16 bits: llama.cpp and 4-bit exports have no score head."
    )


def no_gpu() -> Message:
    return say("A 4-bit model is made by bitsandbytes, which needs a GPU: export it in 16 bits, or as GGUF q4_k_m.")


def target_problem(target: Path, replace: bool) -> Message | None:
    """Why nothing can be exported to `target`, which may exist; None when it can.

    `replace` is the user's yes to replacing an earlier export, and to nothing else.
    """
    if not os.path.lexists(target):
        return None
    if not replace:
        return say(
            "{path} already exists and is not overwritten: give another folder, or allow it to be replaced.",
            path=str(target),
        )
    if target.is_symlink() or not target.is_dir():
        return say("{path} is a file or a link, not a folder.", path=str(target))
    if is_export(target) or not (theirs := sorted(os.listdir(target))):
        return None
    return say(
        "{path} is no export of Loris's and is left as it is (it has {file}): give another folder.",
        path=str(target), file=theirs[0],
    )  # fmt: skip
