"""The environment of the programs that an export runs."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(*, gpu: bool = True) -> dict[str, str]:
    """What `python -m engine.export...` needs. Nothing is fetched: all that it reads lies in a folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    values = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return values if gpu else {**values, "CUDA_VISIBLE_DEVICES": ""}
