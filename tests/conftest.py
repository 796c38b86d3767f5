"""Lets the tests be spread over processes: `pytest -n 3`. Those that train share one, for they need the cores."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRAINING = (HERE / "engine", HERE / "e2e")


@pytest.hookimpl(tryfirst=True)  # before the folder of `tmp_path` is made
def pytest_configure(config: pytest.Config) -> None:
    # Screens show paths, and sockets have short ones: a worker's usual folder is too deep for both.
    if hasattr(config, "workerinput"):
        config.option.basetemp = os.path.join(tempfile.gettempdir(), f"loris-tests-{os.getpid()}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parents for folder in TRAINING):
            item.add_marker(pytest.mark.xdist_group("training"))
