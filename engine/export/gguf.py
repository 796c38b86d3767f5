"""GGUF files through llama.cpp's converter and quantiser: converted once, then quantised once per format.

Unsloth's save_pretrained_gguf runs the same two programs, but cannot be cancelled midway, may ask on standard
input, and fetches and installs without asking: so they are run from here, in the same way.
"""

import os
import re
import sys
from pathlib import Path

from engine.config.quantizations import QUANTIZATIONS, UNQUANTIZED
from engine.export.cancellation import run_tool
from engine.export.export_job import ExportJob
from engine.export.llama_cpp import LlamaCpp
from engine.export.subprocess_env import ON_CPU
from engine.model.loading import count_parameters

DIRECT = (*UNQUANTIZED, "q8_0")  # what the converter can write directly
_PERCENT = re.compile(r"Writing: +(\d+)%")
_TENSOR = re.compile(r"^\[ *(\d+)/ *(\d+)\]")


def export_gguf(
    work: ExportJob, merged: Path, folder: Path, stem: str, quantizations: tuple[str, ...], llama_cpp: LlamaCpp
) -> dict[str, Path]:
    """Write one file per quantisation into `folder`; returns them by quantisation.

    Raises `Cancelled`, `ToolFailed` or OSError.
    """
    made: dict[str, Path] = {}
    if len(quantizations) == 1 and quantizations[0] in DIRECT:
        made[quantizations[0]] = _convert(work, merged, folder, stem, quantizations[0], llama_cpp)
        return made
    for name in quantizations:
        if name in UNQUANTIZED:
            made[name] = _convert(work, merged, folder, stem, name, llama_cpp)
    rest = [name for name in quantizations if name not in UNQUANTIZED]
    if not rest:
        return made
    own = "bf16" if work.loaded.dtype == "bfloat16" else "f16"
    base = made.get(own) or made.get("bf16") or made.get("f16") or made.get("f32")
    keep = base is not None
    if base is None:
        base = _convert(work, merged, folder, stem, own, llama_cpp)
    for name in rest:
        made[name] = _quantize(work, base, folder, stem, name, llama_cpp)
    if not keep:
        base.unlink()
    return {name: made[name] for name in quantizations}


def file_name(stem: str, quantization: str) -> str:
    """As Unsloth and the Hub name them."""
    return f"{stem}.{quantization.upper()}.gguf"


def _convert(work: ExportJob, merged: Path, folder: Path, stem: str, outtype: str, llama_cpp: LlamaCpp) -> Path:
    out = folder / file_name(stem, outtype)
    size = int(count_parameters(work.loaded.model)[1] * QUANTIZATIONS[outtype].bits / 8)
    work.step("converting", 0, size, "bytes", outtype)

    def line(text: str) -> None:
        if found := _PERCENT.search(text):
            work.step("converting", size * int(found[1]) // 100, size, "bytes", outtype)

    command = [
        sys.executable, "-Xutf8", str(llama_cpp.converter), str(merged),
        "--outfile", str(out), "--outtype", outtype,
    ]  # fmt: skip
    # Python's path has the script's folder, not the working directory: the script imports modules next to it.
    run_tool(command, work.cancelled, line=line, environment={**ON_CPU, "PYTHONSAFEPATH": ""})
    return out


def _quantize(work: ExportJob, base: Path, folder: Path, stem: str, name: str, llama_cpp: LlamaCpp) -> Path:
    out = folder / file_name(stem, name)
    work.step("quantizing", 0, 0, "tensors", name)

    def line(text: str) -> None:
        if found := _TENSOR.search(text):
            work.step("quantizing", int(found[1]), int(found[2]), "tensors", name)

    ends = ["--output-tensor-type", "q8_0", "--token-embedding-type", "q8_0"] if name == "q2_k_l" else []
    kind = "q2_k" if name == "q2_k_l" else name
    threads = str(len(os.sched_getaffinity(0)))
    command = [str(llama_cpp.quantizer), *ends, str(base), str(out), kind.upper(), threads]
    run_tool(command, work.cancelled, line=line)
    return out
