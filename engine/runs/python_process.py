"""How Loris starts Python: in UTF-8 mode, and with nothing of the working directory on the module path.

Engines run in a run folder, which may come from someone else: a torch.py there must not be imported.
"""

import os
import sys

OPTIONS = ("-P", "-Xutf8")
# The same for the Pythons that libraries start.
VARIABLES = {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with `arguments`, as in `python("-m", "engine", folder)`."""
    return [sys.executable, *OPTIONS, *arguments]


def environment() -> dict[str, str]:
    """Ours for such a Python. PYTHONPATH loses what is empty or relative: it would mean the working directory."""
    entries = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return {**os.environ, **VARIABLES, "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(entries)}
