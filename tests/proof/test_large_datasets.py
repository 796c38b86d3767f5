"""Time and memory of the proof of large datasets, with generous limits: other work may use the cores."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.engine_process import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow


def measured(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.proof", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**ENVIRONMENT, "OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_fifty_thousand_rows_take_half_a_minute() -> None:
    found = measured("50000")
    assert found["rows"] == found["rows_total"] == 50_000
    assert not found["sampled"]
    assert found["seconds"] < 45  # 30 on two idle cores
    assert found["loop_held_seconds"] < 0.25  # 0.05 on them
    assert found["own_bytes"] < 300 << 20


def test_two_gigabytes_are_sampled_and_reported_as_such() -> None:
    found = measured("5000000", "--small")
    assert found["file_bytes"] > 1_900_000_000
    assert found["sampled"]
    assert (found["rows_total"], found["exact"]) == (5_000_000, True)
    assert 90_000 < found["rows"] <= 100_000
    assert found["duplicates"] == 0
    assert found["own_bytes"] < 300 << 20
    assert found["worker_bytes"] < 2 << 30
    assert found["answer_bytes"] < 4 << 20
