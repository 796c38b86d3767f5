"""Whether this machine has a GPU, and why PyTorch could not use it. Imports no torch."""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.messages.message import Message, say

DEVICES = Path("/dev")
ACCELERATORS = ("nvidia[0-9]*", "dxg", "kfd")  # NVIDIA, a GPU under WSL, AMD
CARDS = ("nvidia[0-9]*", "kfd")  # without WSL's device, which is there for any display adapter
VISIBLE = "CUDA_VISIBLE_DEVICES"
# What hides every GPU from PyTorch, of each maker.
HIDE_ALL = {VISIBLE: "", "HIP_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "ZE_AFFINITY_MASK": ""}
USE_CPU = "LORIS_USE_CPU"  # set for an engine that serves a run whose spec says nothing of it
_CUDA = re.compile(r"^cuda\b[^=]*= '(\d+)\.(\d+)'", re.MULTILINE)


def has_accelerator(devices: Path = DEVICES) -> bool:
    """Whether this machine has a GPU that the engine could use, judged only by its device files."""
    return _has_any(devices, ACCELERATORS)


def has_card(devices: Path = DEVICES) -> bool:
    """Whether this machine surely has a GPU."""
    return _has_any(devices, CARDS)


def _has_any(devices: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(devices.glob(pattern), None) for pattern in patterns)


def gpu_problem(devices: Path = DEVICES, variables: Mapping[str, str] = os.environ) -> Message | None:
    """Why PyTorch will not find this machine's GPU, and the cure, as far as can be said without importing it."""
    if not has_card(devices):
        return None
    hidden = variables.get(VISIBLE)
    if hidden is not None and hidden.strip().partition(",")[0] in ("", "-1"):
        return say("{variable} hides the GPU of this machine: unset it.", variable=f"{VISIBLE}={hidden}")
    if not _has_any(devices, CARDS[:1]):
        return None
    cuda = torch_cuda_version()
    if cuda is None:
        return say(
            "The installed PyTorch is built without CUDA: install the one that Loris asks for, with uv sync."
        )
    return _driver_problem(cuda)


def torch_cuda_version() -> tuple[int, int] | None:
    """The CUDA version that PyTorch was built for; None without CUDA, (0, 0) if it cannot be told."""
    spec = importlib.util.find_spec("torch")  # finds the package without importing it
    try:
        text = Path(str(spec and spec.origin)).with_name("version.py").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return 0, 0
    found = _CUDA.search(text)
    return (int(found[1]), int(found[2])) if found else None


def _driver_problem(cuda: tuple[int, int]) -> Message | None:
    """What the driver says of itself: broken, too old for this CUDA, or without a card that answers."""
    import pynvml  # type: ignore[import-untyped]

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _not_running(error)
    try:
        version = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        if version // 1000 < cuda[0]:  # within one major version, newer programs run on older drivers
            return say(
                "The GPU's driver {driver} supports CUDA {supported}, and the installed PyTorch needs {needed}: "
                "update the driver, or install a PyTorch built for CUDA {supported}.",
                driver=_text(pynvml.nvmlSystemGetDriverVersion()),
                supported=f"{version // 1000}.{version % 1000 // 10}", needed=f"{cuda[0]}.{cuda[1]}",
            )  # fmt: skip
        for number in range(pynvml.nvmlDeviceGetCount()):
            pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(number))
    except pynvml.NVMLError as error:
        return _not_answering(error)
    finally:
        pynvml.nvmlShutdown()
    return None


def _not_running(error: Any) -> Message | None:
    import pynvml

    broken = (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    if error.value not in broken:
        return None  # a container without this library can train all the same: PyTorch will tell
    return say(
        "The GPU's driver does not run: {reason}. Restart the machine, or install the driver again.",
        reason=str(error),
    )


def _not_answering(error: Any) -> Message | None:
    import pynvml

    lost = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_UNKNOWN)
    if error.value not in lost:
        return None  # not every driver supports every question
    return say(
        "The GPU does not answer: {reason}. nvidia-smi shows its state; restart the machine, or rent another.",
        reason=str(error),
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
