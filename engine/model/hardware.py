"""The hardware used for training: the device, its memory, and what it supports."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import psutil
import torch

from engine.messages.errors import last_line
from engine.protocol.events import Device

DtypeName = Literal["float16", "bfloat16", "float32"]


@cache
def device() -> Device:
    """The device used. On a CPU, `total_bytes` is the machine's memory."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return Device(
            kind="hip" if torch.version.hip else "cuda",
            name=properties.name,
            total_bytes=properties.total_memory,
            count=torch.cuda.device_count(),
        )
    if torch.xpu.is_available():
        intel = torch.xpu.get_device_properties(0)
        return Device(kind="xpu", name=intel.name, total_bytes=intel.total_memory, count=torch.xpu.device_count())
    return Device(kind="cpu", name=_cpu_name(), total_bytes=psutil.virtual_memory().total)


def has_gpu() -> bool:
    """Whether the device is not a CPU."""
    return device().kind != "cpu"


def why_no_gpu() -> str:
    """What PyTorch says when it cannot use a GPU, in one line."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return last_line(error)
    return "torch.cuda.is_available() is False"


def _cpu_name() -> str:
    """The processor's name as Linux reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return "CPU"


def torch_device() -> str:
    """The name of the device in torch, where hip is cuda."""
    kind = device().kind
    return "cuda" if kind == "hip" else kind


def reserved_bytes() -> int:
    """Memory reserved by this process: by the allocator on a GPU, the resident set on a CPU."""
    match torch_device():
        case "cuda":
            return torch.cuda.memory_reserved()
        case "xpu":
            return torch.xpu.memory_reserved()
        case _:
            return int(psutil.Process().memory_info().rss)


_earlier_peak = 0


def peak_reserved_bytes() -> int:
    """The peak of `reserved_bytes` in this process, apart from what is `unmeasured`."""
    match torch_device():
        case "cuda":
            return max(_earlier_peak, torch.cuda.max_memory_reserved())
        case "xpu":
            return max(_earlier_peak, torch.xpu.max_memory_reserved())
        case _:
            # Linux counts in KiB. What a process inherited at exec may be missing from the peak.
            return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, reserved_bytes())


@contextmanager
def unmeasured() -> Iterator[None]:
    """Memory that is used inside does not count as a peak: Loris needs it, and the training does not."""
    global _earlier_peak
    _earlier_peak = peak_reserved_bytes() if has_gpu() else 0
    try:
        yield
    finally:
        if has_gpu():
            library = getattr(torch, torch_device())
            library.empty_cache()
            library.reset_peak_memory_stats()


def free_bytes() -> int:
    """The memory of the device that new tensors can have."""
    match torch_device():
        case "cuda" | "xpu" as kind:
            library = getattr(torch, kind)
            return int(library.mem_get_info()[0] + library.memory_reserved() - library.memory_allocated())
        case _:
            return int(psutil.virtual_memory().available)


def best_dtype() -> DtypeName:
    """bfloat16 from Ampere on, float16 on older cards such as T4 and V100, float32 on a CPU."""
    match torch_device():
        case "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        case "xpu":
            return "bfloat16"
        case _:
            return "float32"
