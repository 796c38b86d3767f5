"""Reads the machine: GPU memory, load, temperature and power through NVML, and the processor and its memory.

Reading takes milliseconds, and much longer when a driver hangs: call `Monitor.read` in a thread.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """One card at one moment. None: not reported by the driver. Bytes, degrees Celsius, watts."""

    name: str
    used_bytes: int
    total_bytes: int
    percent: int | None = None
    celsius: int | None = None
    watts: float | None = None
    watts_limit: float | None = None


@dataclass(frozen=True)
class Hardware:
    """The machine at one moment; `gpus` is empty when none can be read."""

    gpus: tuple[Gpu, ...]
    cpu_percent: float
    ram_used_bytes: int
    ram_total_bytes: int


class Monitor:
    """Keeps the driver's library open between readings. Use one from one thread at a time."""

    def __init__(self) -> None:
        self._handles: list[Any] | None = None

    def read(self) -> Hardware:
        """The current state. Does not raise for what the driver does not support."""
        import psutil

        memory = psutil.virtual_memory()
        return Hardware(self._gpus(), psutil.cpu_percent(None), memory.total - memory.available, memory.total)

    def _gpus(self) -> tuple[Gpu, ...]:
        import pynvml  # type: ignore[import-untyped]

        if self._handles is None:
            try:
                pynvml.nvmlInit()
                count = pynvml.nvmlDeviceGetCount()
                self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            except pynvml.NVMLError:
                self._handles = []
        return tuple(gpu for handle in self._handles if (gpu := _read_gpu(pynvml, handle)))


def _read_gpu(nvml: Any, handle: Any) -> Gpu | None:
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    if memory is None:
        return None  # without a memory size, as in some virtual machines, there is nothing to show
    name = _or_none(nvml, nvml.nvmlDeviceGetName, handle) or "GPU"
    load = _or_none(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    power = _or_none(nvml, nvml.nvmlDeviceGetPowerUsage, handle)
    limit = _or_none(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    return Gpu(
        name=name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name),
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        percent=int(load.gpu) if load else None,
        celsius=_or_none(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        watts=power / 1000 if power is not None else None,
        watts_limit=limit / 1000 if limit else None,
    )


def _or_none(nvml: Any, ask: Any, *arguments: Any) -> Any:
    """The driver's answer, or None when it does not support that."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None
