"""`python -m tests.engine.faulty RUN_DIR`: a cold engine with the faults of `LORIS_FAULT`, where none is forked."""

from __future__ import annotations

import os
import sys

from tests.engine import preload  # noqa: F401  imports Unsloth, before what it patches
from tests.engine.faults import plan

if __name__ == "__main__":
    from engine.__main__ import main

    plan(os.environ["LORIS_FAULT"])
    sys.exit(main())
