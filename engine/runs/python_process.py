"""How Loris starts Python: in UTF-8 mode, and without the working directory on the module path.

Engines run in a run folder, which may come from someone else: a torch.py there must not be imported.
"""

import os
import sys

PYTHON_OPTIONS = ("-P", "-Xutf8")
# The same for Python processes that libraries start.
PYTHON_VARIABLES = {"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
SEARCH_PATHS = ("PYTHONPATH", "PATH", "LD_LIBRARY_PATH")
# Folders of the user's files and of code that is run from there: relative to where Loris was started.
FOLDERS = (
    "LORIS_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
    "UNSLOTH_COMPILE_LOCATION", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
)  # fmt: skip


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with `arguments`, as in `python("-m", "engine", folder)`."""
    return [sys.executable, *PYTHON_OPTIONS, *arguments]


def environment() -> dict[str, str]:
    """The environment for it. Its search paths lose entries that are empty or relative: they mean the working
    directory, where modules, programs and libraries of someone else may lie."""
    paths = {name: _absolute_entries(os.environ[name]) for name in SEARCH_PATHS if name in os.environ}
    folders = {
        name: os.path.abspath(os.path.expanduser(os.environ[name])) for name in FOLDERS if os.environ.get(name)
    }
    return {**os.environ, **PYTHON_VARIABLES, "PYTHONUNBUFFERED": "1", **paths, **folders}


def _absolute_entries(paths: str) -> str:
    return os.pathsep.join(filter(os.path.isabs, paths.split(os.pathsep)))
