"""What this machine has can be read."""

from __future__ import annotations

from tui.state.hardware import Monitor


def test_this_machine_can_be_read() -> None:
    machine = Monitor().read()
    assert machine.ram_total_bytes > machine.ram_used_bytes > 0
    assert all(gpu.total_bytes > 0 for gpu in machine.gpus)
