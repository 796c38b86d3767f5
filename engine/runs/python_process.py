"""How Loris starts Python: in UTF-8 mode, and without the working directory on the module path.

Engines run in a run folder, which may come from someone else: a torch.py there must not be imported.
"""

import os
import sys

PYTHON_OPTIONS = ("-P", "-Xutf8")
# The same for Python processes that libraries start.
PYTHON_VARIABLES = {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with `arguments`, as in `python("-m", "engine", folder)`."""
    return [sys.executable, *PYTHON_OPTIONS, *arguments]


def environment() -> dict[str, str]:
    """The environment for it. Drops empty and relative PYTHONPATH entries: they mean the working directory."""
    entries = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {**os.environ, **PYTHON_VARIABLES, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(entries)}
