"""The header of a GGUF file, complete and truncated."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from engine.export.gguf_header import NotGguf, read_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(path: Path, cut: int = 0) -> Path:
    fields = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 2),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ 一 }}"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5),
        text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, True),
    ]
    tensor = text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 4, 8, 0)  # q8_0: 34 bytes for 32
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields)) + b"".join(fields) + tensor
    whole = head + b"\0" * (-len(head) % 32) + b"\1" * (4 * 34)
    path.write_bytes(whole[: len(whole) - cut])
    return path


def test_the_header_of_a_gguf_file_is_read(tmp_path: Path) -> None:
    header = read_header(gguf(tmp_path / "m.gguf"))
    assert header.tensors == {"blk.0.attn_q.weight": 128}
    assert header.blocks == 2
    assert header.chat_template == "{{ 一 }}"
    assert header.fields["tokenizer.ggml.tokens"] == 2
    assert header.fields["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.parametrize("cut", [1, 100, 150, 300, 400])
def test_a_truncated_gguf_file_is_noticed(tmp_path: Path, cut: int) -> None:
    with pytest.raises(NotGguf, match=r"cut off|no GGUF"):
        read_header(gguf(tmp_path / "m.gguf", cut))


def test_a_list_of_lists_without_end_is_refused(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9)
    (tmp_path / "m.gguf").write_bytes(head + struct.pack("<IQ", 9, 1) * 5000)
    with pytest.raises(NotGguf, match="broken"):
        read_header(tmp_path / "m.gguf")
