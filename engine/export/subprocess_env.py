"""The environment of the programs that an export runs, on top of the engine's own."""

OFFLINE = {"HF_HUB_OFFLINE": "1"}  # no downloads: all that they read is in a folder
ON_CPU = {**OFFLINE, "CUDA_VISIBLE_DEVICES": ""}
