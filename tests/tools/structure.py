"""The house in numbers: rooms, floors of imports, arrows, circles. `python -m tests.tools.structure [FOLDER]`.

A room is a package below `engine` or `tui`; what lies beside the rooms (`engine.session`, `tui.app`) is a room of
its own. FOLDER is another checkout, to compare with; without it, this one is measured.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("engine", "tui")

Arrows = dict[str, set[str]]


def modules(graph: grimp.ImportGraph) -> list[str]:
    """The modules with code in them: of packages, those that say more than a docstring."""
    return sorted(name for name in graph.modules if name.split(".")[0] in PACKAGES)


def room_of(module: str, packages: Iterable[str]) -> str:
    """The package that a module lies in, or the module itself where it lies beside the rooms."""
    room = ".".join(module.split(".")[:2])
    return room if room in packages or module.count(".") == 1 else module


def arrows_of(graph: grimp.ImportGraph) -> Arrows:
    """For each room, the rooms that it imports from."""
    packages = {module.rpartition(".")[0] for module in graph.modules if module.count(".") > 1}
    arrows: Arrows = defaultdict(set)
    for module in modules(graph):
        start = room_of(module, packages)
        arrows.setdefault(start, set())
        for target in graph.find_modules_directly_imported_by(module):
            end = room_of(target, packages)
            if target.split(".")[0] in PACKAGES and end != start and end not in PACKAGES:
                arrows[start].add(end)
    for package in PACKAGES:
        arrows.pop(package, None)
    return dict(arrows)


def circles(arrows: Arrows) -> list[list[str]]:
    """Groups of two or more rooms that import each other, directly or by way of others."""
    reach = {room: _reached(room, arrows) for room in arrows}
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, set())) for a in arrows}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(room: str, arrows: Arrows) -> set[str]:
    found: set[str] = set()
    open_ = [room]
    while open_:
        new = arrows.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def floors(arrows: Arrows) -> list[list[str]]:
    """Rooms by the longest way down from them, the ground floor first. Rooms of a circle share a floor."""
    group = {room: min(circle) for circle in circles(arrows) for room in circle}
    below: Arrows = defaultdict(set)
    for room, targets in arrows.items():
        below[group.get(room, room)] |= {group.get(t, t) for t in targets} - {group.get(room, room)}
    height: dict[str, int] = {}

    def measure(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((measure(target) for target in below[room]), default=-1)
        return height[room]

    levels: dict[int, list[str]] = defaultdict(list)
    for room in sorted(arrows):
        levels[measure(group.get(room, room))].append(room)
    return [levels[level] for level in sorted(levels)]


def running_back(arrows: Arrows) -> int:
    """Arrows between rooms of one circle: there is no order of floors in which all of them run down."""
    member = {room: number for number, circle in enumerate(circles(arrows)) for room in circle}
    return sum(
        1 for room, targets in arrows.items() for t in targets if room in member and member.get(t) == member[room]
    )


def lonely(graph: grimp.ImportGraph) -> list[str]:
    """Modules that just one other module imports."""
    return [
        module
        for module in modules(graph)
        if not graph.find_children(module) and len(graph.find_modules_that_directly_import(module)) == 1
    ]


def lines(root: Path) -> int:
    """Lines of the product's Python, comments and all."""
    return sum(len(path.read_bytes().splitlines()) for name in PACKAGES for path in (root / name).rglob("*.py"))


def main() -> None:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    sys.path.insert(0, str(root))
    graph = grimp.build_graph("engine", "tui", cache_dir=None)
    arrows = arrows_of(graph)
    levels = floors(arrows)
    say = print
    for number, level in reversed(list(enumerate(levels))):
        say(f"floor {number}: {', '.join(level)}")
    say(
        f"rooms {len(arrows)}, floors {len(levels)}, arrows {sum(map(len, arrows.values()))},"
        f" running back {running_back(arrows)}, circles {len(circles(arrows))},"
        f" modules with one importer {len(lonely(graph))} of {len(modules(graph))}, lines {lines(root)}"
    )
    for circle in circles(arrows):
        say("circle:", ", ".join(circle))


if __name__ == "__main__":
    main()
