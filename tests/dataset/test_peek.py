"""A preview reads a bounded part of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.dataset import peek as data_module
from engine.dataset.peek import peek
from tests.helpers.dataset_cases import QA
from tests.helpers.dataset_files import lines


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_preview_is_bounded(tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(data_module, "CHECKED_BYTES", 100_000)
    path = tmp_path / f"d.jsonl{packed}"
    content = lines([QA] * 100_000).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    preview = peek(str(path))
    assert not preview.exact
    assert preview.error is None
    if not packed:  # the compression ratio of so uniform a file cannot be estimated from its start
        assert 90_000 < preview.total < 110_000
