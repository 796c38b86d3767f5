"""The hardware's state: a few lines per GPU, or for the processor without one."""

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.state.hardware import Gpu, Hardware
from tui.text.amounts import GB, of_size
from tui.text.sanitize import visible
from tui.text.translation import _


class HardwarePane(Widget):
    """Set `hardware` and `peak_bytes` (the engine's own count, of its first GPU); it redraws itself."""

    DEFAULT_CSS = """
    HardwarePane { height: auto; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    hardware: reactive[Hardware | None] = reactive(None, layout=True)
    peak_bytes: reactive[int] = reactive(0)

    def __init__(self, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._full, self._empty = ("█", "░") if unicode else ("#", "-")

    def render(self) -> Content:
        if self.hardware is None:
            return Content(_("Looking at the hardware…"))
        if not self.hardware.gpus:
            return self._processor(self.hardware)
        lines = [
            self._gpu(number, gpu, self.peak_bytes if number == 0 else 0)
            for number, gpu in enumerate(self.hardware.gpus)
        ]
        return Content("\n").join(lines)

    def _gpu(self, number: int, gpu: Gpu, peak: int) -> Content:
        memory = of_size(gpu.used_bytes, gpu.total_bytes)
        if peak:
            memory += _(", peak {size}").format(size=f"{peak / GB:.1f} GB")
        load = [
            _("load {percent}%").format(percent=gpu.percent) if gpu.percent is not None else "",
            f"{gpu.celsius}°C" if gpu.celsius is not None else "",
            self._power(gpu),
        ]
        return Content("\n").join([
            Content.assemble((f"GPU {number}  ", "bold"), visible(gpu.name)),
            Content.assemble(self._bar(gpu.used_bytes / max(1, gpu.total_bytes)), " ", memory),
            Content("  ".join(part for part in load if part)),
        ])  # fmt: skip

    def _power(self, gpu: Gpu) -> str:
        if gpu.watts is None:
            return ""
        return f"{gpu.watts:.0f} W" if gpu.watts_limit is None else f"{gpu.watts:.0f}/{gpu.watts_limit:.0f} W"

    def _processor(self, hardware: Hardware) -> Content:
        words, ram = _("processor"), _("memory")
        width = max(cell_len(words), cell_len(ram)) + 1
        used = hardware.ram_used_bytes / max(1, hardware.ram_total_bytes)
        return Content("\n").join([
            Content.assemble((_("No GPU: training on the CPU"), "bold")),
            Content.assemble(
                words + " " * (width - cell_len(words)),
                self._bar(hardware.cpu_percent / 100, warn=False), f" {hardware.cpu_percent:.0f}%",
            ),
            Content.assemble(
                ram + " " * (width - cell_len(ram)),
                self._bar(used), " ", of_size(hardware.ram_used_bytes, hardware.ram_total_bytes),
            ),
        ])  # fmt: skip

    def _bar(self, share: float, warn: bool = True) -> tuple[str, str]:
        """A bar, coloured as a warning when little memory is left; the numbers next to it say the same."""
        room = 12
        full = min(room, max(0, round(share * room)))
        tone = "$error" if warn and share > 0.95 else "$warning" if warn and share > 0.85 else "$success"
        return self._full * full + self._empty * (room - full), tone
