"""The rank of this process: torchrun starts one per GPU, and only rank 0 writes events and answers requests."""

import os


def is_distributed() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def is_main_process() -> bool:
    """Whether this is rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"
