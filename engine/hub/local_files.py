"""Lists the files to upload and checks that they are complete."""

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.config.files import is_set_aside
from engine.hub.errors import HubError
from engine.messages.message import Message, say
from engine.runs.checksums import damaged_files

CARD = "README.md"
BLOCK = 1 << 20
REQUIRED_FILES = {
    "adapter": "adapter_config.json", "model": "config.json", "merged_16bit": "config.json",
    "merged_4bit": "config.json",
}  # fmt: skip


@dataclass(frozen=True)
class LocalFile:
    """A file to upload: its path in the repository, and its content on disk or in memory."""

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
        """Whether the content has the Hub's hash: the sha256 of a large file, the git blob id of a small one."""
        digest = hashlib.sha256() if sha256 else hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest() == (sha256 or blob_id)


def list_files(kind: str, folder: Path, card: str) -> list[LocalFile]:
    """The files to upload. Raises `HubError` if they are incomplete, OSError for disk errors."""
    if not folder.is_dir():
        raise HubError("push_missing", say("There is no such folder: {path}.", path=str(folder)), field="path")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts) or is_set_aside(path)
        if path.is_file() and not hidden:
            found.append(LocalFile(name.as_posix(), path.stat().st_size, path))
    if broken := _find_damage(kind, folder, found):
        hint = say("Export it again, then push it.")
        raise HubError("push_not_whole", broken, hint, field="path")
    if card:
        text = card.encode()
        found = [file for file in found if file.name != CARD] + [LocalFile(CARD, len(text), text)]
    return found


def _find_damage(kind: str, folder: Path, files: list[LocalFile]) -> Message | None:
    """Why the folder is incomplete or damaged; None if it looks complete."""
    needed = REQUIRED_FILES.get(kind)
    if needed and not (folder / needed).is_file():
        return say("This folder is incomplete: {file} is missing.", file=needed)
    weights = [file for file in files if file.name.endswith((".safetensors", ".gguf", ".bin"))]
    if not weights:
        return say("This folder is incomplete: it has no weights.")
    for file in weights:
        if isinstance(file.content, Path) and not _is_complete(file.content, file.size):
            return say("{file} is truncated or not a file of weights.", file=file.name)
    if cut := damaged_files(folder, ".gguf"):  # a GGUF header has no file length
        return say("{file} is truncated or not a file of weights.", file=cut[0])
    for index in folder.glob("*.safetensors.index.json"):
        named = msgspec.json.decode(index.read_bytes(), type=dict[str, object]).get("weight_map")
        for name in sorted(set(named.values())) if isinstance(named, dict) else []:
            if not (folder / str(name)).is_file():
                return say("This folder is incomplete: {file} is missing.", file=str(name))
    return None


def _is_complete(path: Path, size: int) -> bool:
    """Whether a weights file is as long as its header says; a weaker check for formats other than safetensors."""
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
