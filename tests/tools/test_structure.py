"""The house stays one to live in: no circle between rooms, no module too long to read, a word on every folder."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

from tests.tools import structure

MOST_LINES = 400
# Longer for a reason; each is one thing that would only be torn apart.
LONGER: dict[str, str] = {}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*structure.PACKAGES, cache_dir=None)


def too_long(root: Path) -> list[str]:
    """The modules below a folder that are longer than one reads."""
    files = (path for name in structure.PACKAGES for path in (root / name).rglob("*.py"))
    return sorted(str(path.relative_to(root)) for path in files if len(path.read_bytes().splitlines()) > MOST_LINES)


def silent_folders(root: Path) -> list[str]:
    """The packages below a folder whose `__init__.py` says nothing, or is not there."""
    folders = {path.parent for name in structure.PACKAGES for path in (root / name).rglob("*.py")}
    inits = {folder: folder / "__init__.py" for folder in folders}
    return sorted(
        str(folder.relative_to(root))
        for folder, init in inits.items()
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_text("utf-8")))
    )


def test_rooms_do_not_import_each_other_in_a_circle(graph: grimp.ImportGraph) -> None:
    arrows = structure.arrows_of(graph)
    assert len(arrows) > 20
    assert structure.circles(arrows) == []
    assert structure.running_back(arrows) == 0


def test_no_module_is_too_long_to_read() -> None:
    assert set(too_long(structure.ROOT)) <= LONGER.keys()


def test_every_folder_says_what_it_holds() -> None:
    assert silent_folders(structure.ROOT) == []


def test_the_checks_can_fail(tmp_path: Path) -> None:
    room = tmp_path / "engine" / "room"
    room.mkdir(parents=True)
    (room / "long.py").write_text("x = 1\n" * (MOST_LINES + 1))
    (tmp_path / "engine" / "__init__.py").write_text('"""A word."""\n')
    assert too_long(tmp_path) == ["engine/room/long.py"]
    assert silent_folders(tmp_path) == ["engine/room"]
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert structure.circles(arrows) == [["a", "b", "c"]]
    assert structure.running_back(arrows) == 3


def test_floors_and_rooms_are_counted() -> None:
    arrows = {"cli": {"screens", "text"}, "screens": {"text"}, "text": set()}
    assert structure.floors(arrows) == [["text"], ["screens"], ["cli"]]
    assert structure.room_of("engine.runs.folder", {"engine.runs"}) == "engine.runs"
    assert structure.room_of("tui.app", {"tui.text"}) == "tui.app"


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for package in structure.PACKAGES:
        for path in sorted((structure.ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(structure.ROOT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
