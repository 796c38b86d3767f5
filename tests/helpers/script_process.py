"""Starts the scripts in `tests/helpers/scripts`: several trainings in one process, which imports Unsloth once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS

SCRIPTS = ROOT / "tests/helpers/scripts"


def start(script: str, place: Path, arguments: list[Path], *, compiled: bool = False) -> subprocess.Popen[str]:
    """One process for all runs. Of a few steps, compiled code would take longer to make than it runs."""
    uncompiled = {} if compiled else {"TORCHDYNAMO_DISABLE": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        cwd=place, env={**ENVIRONMENT, **uncompiled}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def outputs(*processes: subprocess.Popen[str]) -> list[str]:
    """What each printed, once all have ended well."""
    found = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            assert process.returncode == 0, errors[-3000:]
            found.append(output)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return found


def json_lines(output: str) -> list[Any]:
    """The lists that a script printed, one a line, among what libraries print."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("[")]
