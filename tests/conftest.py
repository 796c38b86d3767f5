"""Marks tests by what they need, and lets them be spread over processes: `pytest -n 4`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.helpers import engine_process

pytest_plugins = ["tests.helpers.run_fixtures", "tests.helpers.screen_fixtures", "tests.helpers.engine_fixtures"]
E2E = Path(__file__).parent / "e2e"
SELDOM = ("gguf", "gpu", "slow")


@pytest.hookimpl(tryfirst=True)  # before the folder of `tmp_path` is made
def pytest_configure(config: pytest.Config) -> None:
    # Several engines share the cores: with a thread for each core in each of them, a step can take ten seconds.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Left out unless one of them is named: `-m "not engine"` brings none of them in.
    asked = config.option.markexpr
    if not any(kind in asked for kind in SELDOM):
        config.option.markexpr = " and ".join([f"({asked})"] * bool(asked) + [f"not {kind}" for kind in SELDOM])
    # Screens show paths, and sockets have short ones: a worker's usual folder is too deep for both.
    if hasattr(config, "workerinput"):
        config.option.basetemp = os.path.join(tempfile.gettempdir(), f"loris-tests-{os.getpid()}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before xdist and `-m` read the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.engine)
            item.add_marker(pytest.mark.xdist_group(group))
        if "snap_compare" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.snapshot)


def _group(item: pytest.Item) -> str:
    """Which tests of a real engine share a process, for engines fight for the cores; empty for the others."""
    names, file = vars(getattr(item, "module", item)), item.path.name
    if "unsloth" in names:
        return "data"  # importing Unsloth takes long: once for all that do so themselves
    if file.startswith("test_faults"):
        return "faults"
    if file.startswith("test_method_"):
        return "methods"
    if E2E in item.path.parents:
        return "terminal" if any(word in file for word in ("screen", "terminal", "wizard")) else "engines"
    starts_one = any(names.get(name) is getattr(engine_process, name) for name in ("Engine", "ENVIRONMENT"))
    return "engines" if starts_one else ""
