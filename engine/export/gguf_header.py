"""Reads the header of a GGUF file, which tells llama.cpp how to load it. Reads no weights."""

# Not with gguf's GGUFReader: it makes an array of every token (for 128,000: 25 times the time, 600 MB), and loops
# up to 2**62 times on a broken header.

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

MAGIC = b"GGUF"
MAX_LENGTH = 1 << 22  # items of a list, or bytes of a text: above this, the file is broken
# The types of single values, by GGUF's numbers.
_VALUES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
# (weights in a block, its bytes) by GGML type number.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
}  # fmt: skip


class NotGguf(ValueError):
    """Not a GGUF file, or truncated."""


@dataclass(frozen=True)
class GgufHeader:
    """`fields`: the metadata, with only the length of lists. `tensors`: name to number of weights."""

    version: int
    fields: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, int] = field(default_factory=dict)

    @property
    def chat_template(self) -> str:
        return str(self.fields.get("tokenizer.chat_template", ""))

    @property
    def blocks(self) -> int:
        """The number of layers, by its metadata."""
        return int(self.fields.get(f"{self.fields.get('general.architecture')}.block_count", 0))


def read_header(path: Path) -> GgufHeader:
    """The header of a complete file. Raises `NotGguf` for another or a truncated file, or OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise NotGguf(f"{path.name} is no GGUF file")
        (version,) = _read(file, "I")
        if version not in (2, 3):
            raise NotGguf(f"{path.name} is a GGUF file of version {version}")
        tensor_count, field_count = _read(file, "QQ")
        if tensor_count > MAX_LENGTH or field_count > MAX_LENGTH:
            raise NotGguf(f"{path.name} is broken")
        fields: dict[str, Any] = {}
        for _ in range(field_count):
            name = _text(file)
            fields[name] = _value(file, _read(file, "I")[0])
        tensors, end = {}, 0
        for _ in range(tensor_count):
            name = _text(file)
            (dimensions,) = _read(file, "I")
            weights = 1
            for length in _read(file, "Q" * min(dimensions, 8)):
                weights *= length
            kind, offset = _read(file, "IQ")
            if kind not in _BLOCKS:
                raise NotGguf(f"{path.name}: {name} is of type {kind}, which is not known")
            block, block_bytes = _BLOCKS[kind]
            tensors[name] = weights
            end = max(end, offset + weights // block * block_bytes)
        alignment = int(fields.get("general.alignment", 32))
        start = -(-file.tell() // alignment) * alignment
        if start + end > size:
            raise NotGguf(f"{path.name} is cut off: it has {size} bytes of {start + end}")
        return GgufHeader(version, fields, tensors)


def _read(file: IO[bytes], shape: str) -> tuple[Any, ...]:
    wanted = struct.calcsize("<" + shape)
    data = file.read(wanted)
    if len(data) != wanted:
        raise NotGguf("the file is cut off")
    return struct.unpack("<" + shape, data)


def _text(file: IO[bytes]) -> str:
    (length,) = _read(file, "Q")
    if length > MAX_LENGTH:
        raise NotGguf("the file is broken")
    return str(_read(file, f"{length}s")[0].decode("utf-8", "replace"))


def _value(file: IO[bytes], kind: int) -> Any:
    """A value; of a list only its length, because vocabularies are long."""
    if kind == _TEXT:
        return _text(file)
    if kind == _LIST:
        inner, length = _read(file, "IQ")
        if inner in _VALUES:
            file.seek(length * struct.calcsize("<" + _VALUES[inner]), 1)
            return int(length)
        if length > MAX_LENGTH or inner == _LIST:  # llama.cpp has no lists of lists
            raise NotGguf("the file is broken")
        for _ in range(length):
            _value(file, inner)
        return int(length)
    if kind not in _VALUES:
        raise NotGguf("the file is broken")
    return _read(file, _VALUES[kind])[0]
