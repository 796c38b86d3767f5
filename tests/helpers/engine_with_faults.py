"""`python -m tests.helpers.engine_with_faults RUN_DIR`: a new engine process with the faults of `LORIS_FAULT`."""

from __future__ import annotations

import os
import sys

from tests.helpers import engine_imports  # noqa: F401  imports Unsloth, before what it patches
from tests.helpers.fault_injection import plan

if __name__ == "__main__":
    from engine.__main__ import main

    plan(os.environ["LORIS_FAULT"])
    sys.exit(main())
