"""Pins every package that an install brings, direct or not: `uv run --no-sync python -m tests.tools.pin`.

Pins stay as they are where they still fit what pyproject.toml asks for; `--upgrade` takes the newest of all,
`--upgrade-package NAME` of one. A uv.lock would do it too, but it names the registry that it was made from.
Needs only Python and uv, so that it works where the pins themselves no longer fit together.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "pyproject.toml"
TESTED = ROOT / "engine" / "preflight" / "tested_versions.txt"
START = "# Pins, written by tests/tools/pin.py: what uv installs, here and to build the wheel.\n"
END = "# End of the pins.\n"
OLDEST_PYTHON = "3.11"
# A name, one version, and for whom when there are several. No address, whatever the registry.
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[\w.!]+)(\+[\w.]+)?( ; (?P<marker>[\w <>=!.'()]+))?")


def pins_of(resolved: str) -> list[str]:
    """uv's answer as pins. A package that has one version everywhere is pinned everywhere."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in resolved.splitlines():
        pin = PIN.fullmatch(line)
        if not pin:
            raise SystemExit(f"not a version from a registry: {line}")
        found.setdefault(pin["name"], []).append((pin["version"], pin["marker"] or ""))
    pins = []
    for name, versions in sorted(found.items()):
        if len({version for version, _marker in versions}) == 1:
            pins.append(f"{name}=={versions[0][0]}")
        else:
            pins += sorted(f"{name}=={version} ; {marker}" for version, marker in versions)
    return pins


def without_pins(project: str) -> str:
    """pyproject.toml's text without the pins."""
    before, _start, rest = project.partition(START)
    return before + rest.partition(END)[2] if rest else project


def with_pins(project: str, pins: list[str], build_pins: list[str]) -> str:
    """pyproject.toml's text with these pins in the place of the old ones."""
    before, start, rest = project.partition(START)
    if not start or END not in rest:
        raise SystemExit(f"pyproject.toml lacks the lines between which pins go:\n{START}{END}")

    def table(name: str, values: list[str]) -> str:
        return "".join([f"{name} = [\n", *(f'    "{value}",\n' for value in values), "]\n"])

    written = table("constraint-dependencies", pins) + table("build-constraint-dependencies", build_pins)
    return before + START + written + END + rest.partition(END)[2]


def tested(text: str, pins: list[str]) -> str:
    """`tested_versions.txt` with the pinned versions of the packages that it names."""
    lines = text.splitlines()
    names = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    known = [pin.partition(" ;")[0] for pin in pins]
    written = [
        line for name in dict.fromkeys(names) for line in dict.fromkeys(known) if line.startswith(f"{name}==")
    ]
    return "\n".join([*(line for line in lines if line.startswith("#")), *written, ""])


def resolve(folder: Path, source: str, old: list[str], options: list[str]) -> list[str]:
    """What `source` needs on every machine that pyproject.toml in `folder` names, near the `old` pins."""
    out = folder / "resolved.txt"
    out.write_text("".join(f"{pin}\n" for pin in old), "utf-8")  # uv prefers what it finds there
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run([*command, *options, source, "-o", out.name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return pins_of(out.read_text("utf-8"))


def new_pins(project: str, options: list[str]) -> tuple[list[str], list[str]]:
    """(pins, pins for building the wheel) of this pyproject.toml. Raises CalledProcessError when nothing fits."""
    told = tomllib.loads(project)
    old, old_build = (
        told["tool"]["uv"].get(name, []) for name in ("constraint-dependencies", "build-constraint-dependencies")
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pyproject.toml").write_text(without_pins(project), "utf-8")
        pins = resolve(folder, "pyproject.toml", old, ["--all-extras", "--group", "dev", *options])
        # hatchling asks for editables only when it builds an editable install, which `uv sync` does.
        build = [*told["build-system"]["requires"], "editables"]
        (folder / "build.in").write_text("".join(f"{one}\n" for one in build), "utf-8")
        build_pins = resolve(folder, "build.in", old_build, options)
        # What the next `uv sync` will do: it must find these, and nothing else.
        (folder / "pyproject.toml").write_text(with_pins(project, pins, build_pins), "utf-8")
        subprocess.run(["uv", "lock", "--quiet"], cwd=folder, check=True)
        locked = tomllib.loads((folder / "uv.lock").read_text("utf-8"))["package"]
    unpinned = {f"{one['name']}=={one['version']}" for one in locked} - {pin.partition(" ;")[0] for pin in pins}
    if unpinned := {one for one in unpinned if not one.startswith(told["project"]["name"] + "==")}:
        raise SystemExit(f"uv sync would install what is not pinned: {', '.join(sorted(unpinned))}")
    return pins, build_pins


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.pin", description="Pin every package in pyproject.toml."
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest version of everything")
    parser.add_argument("--upgrade-package", action="append", default=[], metavar="NAME", help="of this one")
    given = parser.parse_args()
    options = ["--upgrade"] * given.upgrade + [f"--upgrade-package={name}" for name in given.upgrade_package]
    project = PROJECT.read_text("utf-8")
    try:
        pins, build_pins = new_pins(project, options)
    except subprocess.CalledProcessError:
        sys.exit("nothing was changed: uv says above why")
    PROJECT.write_text(with_pins(project, pins, build_pins), "utf-8")
    TESTED.write_text(tested(TESTED.read_text("utf-8"), pins), "utf-8")
    print(f"{len(pins)} pins, {len(build_pins)} for building the wheel")  # noqa: T201


if __name__ == "__main__":
    main()
