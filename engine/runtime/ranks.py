"""Which process of several this is: torchrun starts one a GPU, and one of them alone writes and answers."""

from __future__ import annotations

import os


def is_distributed() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def is_leader() -> bool:
    """Whether this is rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"
