"""Lets the tests be spread over processes: `pytest -n 4`. Engines share three: more would fight for the cores."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.helpers.run_fixtures", "tests.helpers.engine_fixtures"]
E2E = Path(__file__).parent / "e2e"


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
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str:
    """Which tests must share a process; empty for those that may run anywhere."""
    names, file = vars(getattr(item, "module", item)), item.path.name
    if "unsloth" in names:
        return "data"  # importing Unsloth takes long: once for all that do so themselves
    if E2E in item.path.parents and any(word in file for word in ("screen", "terminal", "wizard")):
        return "terminal"
    if file.startswith("test_faults"):
        return "faults"
    return "engines" if {"Engine", "ENVIRONMENT"} & names.keys() else ""
