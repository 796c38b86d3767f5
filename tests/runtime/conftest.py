from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.runtime.control import Control
from engine.runtime.server import Server


@pytest.fixture
def path(tmp_path: Path, control: Control) -> Iterator[Path]:
    """The socket of a server that passes its requests to the module's `control` fixture."""
    server = Server(tmp_path / "private/engine.sock", control)
    yield tmp_path / "private/engine.sock"
    server.close()
