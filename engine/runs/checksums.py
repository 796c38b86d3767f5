"""The SHA256SUMS file of an export: written by Loris, checked by it or by `sha256sum --check`."""

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.config.files import read_bytes

CHECKSUMS = "SHA256SUMS"  # in every exported folder
FORMAT_FILE = "loris.json"  # next to weights that Loris saved: see `engine.prompting.format_file`
FILLING_LOCK = ".loris-lock"  # held while a folder is written: one that nobody holds was left by a killed engine
_CHUNK = 1 << 20
MAX_BYTES = 16 << 20  # of the list


def write_checksums(folder: Path, tick: Callable[[str, int, int], None]) -> dict[str, str]:
    """Write the SHA-256 of every file, and return them. `tick` receives the file's name, the bytes done and the
    total."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name not in (FILLING_LOCK, CHECKSUMS)
    )
    total, done, digests = sum(path.stat().st_size for path in files), 0, {}
    for path in files:
        digest = hashlib.sha256()
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                tick(name, done, total)
        digests[name] = digest.hexdigest()
    (folder / CHECKSUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), "utf-8")
    return digests


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that is listed; empty where there are no checksums."""
    try:
        lines = read_bytes(folder / CHECKSUMS, MAX_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines if "  " in line)}


def damaged_files(folder: Path, suffix: str = "") -> list[str]:
    """The files of an earlier export that are missing or have changed; with `suffix`, only those that end in it.

    Reads every byte. Also empty where there are no checksums.
    """
    return [
        name
        for name, digest in read_checksums(folder).items()
        if name.endswith(suffix) and not _matches(folder / name, digest)
    ]


def _matches(path: Path, digest: str) -> bool:
    with suppress(OSError):
        return sha256(path) == digest
    return False


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex. Raises OSError, also for a device or a pipe, which may never end."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adapter_digest(folder: Path) -> str:
    """The SHA-256 of an adapter's weights; empty when there are none."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        with suppress(OSError):
            return sha256(folder / name)
    return ""
