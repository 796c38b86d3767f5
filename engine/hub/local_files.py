"""What lies in the folder that is to be sent: whether it is whole, and its files' sizes and hashes."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.hub.errors import HubError
from engine.messages.message import Message, say
from engine.runs.checksums import damaged_files

CARD = "README.md"
BLOCK = 1 << 20
NEEDED = {"adapter": "adapter_config.json", "merged_16bit": "config.json", "merged_4bit": "config.json"}


@dataclass(frozen=True)
class LocalFile:
    """A file to send: the name it shall have in the repository, and its content, on disk or in memory."""

    name: str
    size: int
    content: Path | bytes

    def blocks(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    def matches(self, sha256: str | None, blob_id: str | None) -> bool:
        """Whether the Hub's hash is this content's: the sha256 of a large file, git's own of a small one."""
        digest = hashlib.sha256() if sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest() == (sha256 or blob_id)


def files_of(kind: str, folder: Path, card: str) -> list[LocalFile]:
    """The files to send, after a look at whether they are whole. Raises `HubError`; OSError from the disk."""
    if not folder.is_dir():
        raise HubError("push_missing", say("There is no such folder: {path}.", path=str(folder)), field="path")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found.append(LocalFile(name.as_posix(), path.stat().st_size, path))
    if broken := _broken(kind, folder, found):
        hint = say("Save it again, then push it.")
        raise HubError("push_not_whole", broken, hint, field="path")
    if card:
        text = card.encode()
        found = [file for file in found if file.name != CARD] + [LocalFile(CARD, len(text), text)]
    return found


def _broken(kind: str, folder: Path, files: list[LocalFile]) -> Message | None:
    """Why what is in the folder is not what it is said to be; None when it looks whole."""
    needed = NEEDED.get(kind)
    if needed and not (folder / needed).is_file():
        return say("This folder holds nothing whole: {file} is missing.", file=needed)
    weights = [file for file in files if file.name.endswith((".safetensors", ".gguf", ".bin"))]
    if not weights:
        return say("This folder holds nothing whole: it has no weights.")
    for file in weights:
        if isinstance(file.content, Path) and not _whole(file.content, file.size):
            return say("{file} is cut short or no file of weights.", file=file.name)
    if cut := damaged_files(folder, ".gguf"):  # its header does not tell its length
        return say("{file} is cut short or no file of weights.", file=cut[0])
    for index in folder.glob("*.safetensors.index.json"):
        named = msgspec.json.decode(index.read_bytes(), type=dict[str, object]).get("weight_map")
        for name in sorted(set(named.values())) if isinstance(named, dict) else []:
            if not (folder / str(name)).is_file():
                return say("This folder holds nothing whole: {file} is missing.", file=str(name))
    return None


def _whole(path: Path, size: int) -> bool:
    """Whether a file of weights is as long as its own header says, as far as its kind tells."""
    with path.open("rb") as file:
        start = file.read(8)
        if path.suffix == ".gguf":
            return start[:4] == b"GGUF" and size > 24
        if path.suffix != ".safetensors":
            return size > 0
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, 100 << 20):
            return False
        try:
            header = msgspec.json.decode(file.read(length), type=dict[str, dict[str, object]])
        except msgspec.DecodeError:
            return False
    ends = [tensor["data_offsets"][1] for name, tensor in header.items()  # type: ignore[index]
            if name != "__metadata__"]  # fmt: skip
    return 8 + length + max(ends, default=0) == os.path.getsize(path)
