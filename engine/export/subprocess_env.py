"""The environment of the programs that an export runs, beyond the engine's own."""

from __future__ import annotations

OFFLINE = {"HF_HUB_OFFLINE": "1"}  # nothing is fetched: all that they read lies in a folder
ON_CPU = {**OFFLINE, "CUDA_VISIBLE_DEVICES": ""}
