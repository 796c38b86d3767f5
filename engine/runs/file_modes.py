"""File modes as the umask gives them: some libraries write weights that only their owner can read."""

import stat
from contextlib import suppress
from pathlib import Path

_PROBE = ".loris-mode"


def set_usual_modes(folder: Path) -> None:
    """Give every file below `folder` the mode of a new file there; programs stay executable. Raises OSError."""
    probe = folder / _PROBE
    probe.touch()
    usual = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    executable = usual | (usual & 0o444) >> 2
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = executable if mode & stat.S_IXUSR else usual
        if mode != wanted:
            with suppress(OSError):  # a file system without modes
                path.chmod(wanted)
