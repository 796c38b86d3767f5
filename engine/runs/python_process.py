"""How Loris starts Python: in UTF-8 mode, and without the working directory on the module path.

Engines run in a run folder, which may come from someone else: a torch.py there must not be imported.
"""

import os
import sys

PYTHON_OPTIONS = ("-P", "-Xutf8")
# The same for Python processes that libraries start.
PYTHON_VARIABLES = {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
SEARCH_PATHS = ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH")


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with `arguments`, as in `python("-m", "engine", folder)`."""
    return [sys.executable, *PYTHON_OPTIONS, *arguments]


def environment() -> dict[str, str]:
    """The environment for it. Its search paths lose entries that are empty or relative: they mean the working
    directory, where modules, programs and libraries of someone else may lie."""
    paths = {name: _absolute_entries(os.environ[name]) for name in SEARCH_PATHS if name in os.environ}
    return {**os.environ, **PYTHON_VARIABLES, "PYTHONUNBUFFERED": "1", **paths}


def _absolute_entries(paths: str) -> str:
    return os.pathsep.join(filter(os.path.isabs, paths.split(os.pathsep)))
