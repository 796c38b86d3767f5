"""Sizes, times and counts as people write them."""

from __future__ import annotations

from tui.text import amounts


def test_amounts_read_well() -> None:
    assert [amounts.size(n) for n in (0, 900, 2048, 97 * 1024**2, 6 * 1024**3)] == [
        "0 B", "900 B", "2.0 KB", "97.0 MB", "6.0 GB",
    ]  # fmt: skip
    assert [amounts.duration(n) for n in (0, 61, 3600 * 3 + 7 * 60 + 59)] == ["0:00", "1:01", "3:07:59"]
    assert [amounts.time_left(n) for n in (0.2, 42, 600, 3 * 3600 + 660)] == ["1 s", "42 s", "10 min", "3 h 11 min"]
    assert amounts.rate(0, 1) == amounts.rate(3, 0) == ""
    assert [amounts.count(n) for n in (12, 1500, 24_313_856, 3_212_749_824)] == ["12", "1.5 k", "24.3 M", "3.21 B"]
