"""Lets the tests be spread over processes: `pytest -n 3`. Those that train share one, for they need the cores."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRAINING = (HERE / "engine", HERE / "e2e")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parents for folder in TRAINING):
            item.add_marker(pytest.mark.xdist_group("training"))
