"""Why a program of an export failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.export.cancellation import ToolFailed
from engine.export.tool_errors import explain_tool_error
from engine.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (1, "OSError: 557056 requested and 499488 written", "disk_full"),
        (1, "main: failed: basic_ios::clear: iostream error", "disk_full"),
        (-9, "", "tool_killed"),
        (1, "ERROR:hf-to-gguf:Model FooForCausalLM is not supported", "architecture_unknown"),
        (4, "no such instruction", "tool_failed"),
    ],
)
def test_why_a_program_failed_is_explained(tmp_path: Path, code: int, said: str, expected: str) -> None:
    assert explain_tool_error(ToolFailed("llama-quantize", code, [said]), RunFolder(tmp_path)).code == expected
