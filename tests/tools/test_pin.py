"""What is installed is exactly what is pinned, and what the wheel tells of is that too."""

from __future__ import annotations

import sysconfig
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.preflight import tested_versions
from tests.tools import pin

PROJECT = pin.PROJECT.read_text("utf-8")
SETTINGS = tomllib.loads(PROJECT)["tool"]["uv"]
PINS: list[str] = SETTINGS["constraint-dependencies"]
BUILD_PINS: list[str] = SETTINGS["build-constraint-dependencies"]


def installed() -> dict[str, str]:
    """{package: version} of this environment, Loris itself left out."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    found = {canonicalize_name(one.name): one.version for one in metadata.distributions(path=list(places))}
    return {name: version for name, version in found.items() if name != "loris-tui"}


def unpinned(packages: dict[str, str], pins: list[str]) -> list[str]:
    """What is installed and not pinned here, or pinned to another version."""
    wanted = {one.name: one.specifier for one in map(Requirement, pins) if not one.marker or one.marker.evaluate()}
    return [
        f"{name} {version}, pinned {wanted.get(name, 'not at all')}"
        for name, version in packages.items()
        if name not in wanted or not wanted[name].contains(version, prereleases=True)
    ]


def test_what_is_installed_is_what_is_pinned():
    packages = installed()
    assert {"torch", "unsloth", "textual", "babel", "certifi", "pytest"} <= set(packages)
    assert unpinned(packages, PINS) == [], "run `uv sync`; after a change of dependencies, tests/tools/pin.py"


@pytest.mark.parametrize("altered", ["babel", "certifi", "numpy", "torch"])
def test_a_difference_is_found(altered: str):
    here = [one for one in map(Requirement, PINS) if not one.marker or one.marker.evaluate()]
    packages = {one.name: str(one.specifier).removeprefix("==") for one in here}
    assert unpinned(packages, PINS) == []
    assert unpinned({**packages, "torch": packages["torch"] + "+cu128"}, PINS) == []
    assert unpinned({**packages, altered: "0.0.1"}, PINS) == [f"{altered} 0.0.1, pinned =={packages[altered]}"]
    missing = [one for one in PINS if Requirement(one).name != altered]
    assert unpinned(packages, missing) == [f"{altered} {packages[altered]}, pinned not at all"]


def test_pins_are_exact_and_name_no_host():
    for line in [*PINS, *BUILD_PINS]:
        assert pin.PIN.fullmatch(line), line
    assert {"hatchling", "editables"} <= {Requirement(one).name for one in BUILD_PINS}
    asked = [
        *tomllib.loads(PROJECT)["project"]["dependencies"],
        *tomllib.loads(PROJECT)["dependency-groups"]["dev"],
    ]
    assert {canonicalize_name(Requirement(one).name) for one in asked} <= {Requirement(one).name for one in PINS}


def test_what_the_wheel_tells_is_what_is_pinned():
    text = pin.TESTED.read_text("utf-8")
    assert pin.TESTED == tested_versions.TESTED
    assert pin.tested(text, PINS) == text
    for name, versions in tested_versions.tested_versions().items():
        assert [f"{name}=={version}" for version in versions] == [
            one.partition(" ;")[0] for one in PINS if Requirement(one).name == name
        ]


def test_writing_the_same_pins_changes_nothing():
    assert pin.with_pins(PROJECT, PINS, BUILD_PINS) == PROJECT
    assert "==" not in "".join(tomllib.loads(pin.without_pins(PROJECT))["tool"]["uv"]["override-dependencies"])
    assert "constraint-dependencies" not in tomllib.loads(pin.without_pins(PROJECT))["tool"]["uv"]


def test_uvs_answer_becomes_pins():
    linux = "sys_platform == 'linux'"
    assert pin.pins_of(
        f"torch==2.14.1+cpu ; {linux}\n"
        f"numpy==2.5.5 ; python_full_version >= '3.12' and {linux}\n"
        f"numpy==2.4.6 ; python_full_version < '3.12' and {linux}\n"
    ) == [
        f"numpy==2.4.6 ; python_full_version < '3.12' and {linux}",
        f"numpy==2.5.5 ; python_full_version >= '3.12' and {linux}",
        "torch==2.14.1",
    ]


@pytest.mark.parametrize("line", ["--index-url https://a.b/simple", "trl @ https://a.b/trl.whl", "-e .", "trl>=1"])
def test_no_address_becomes_a_pin(line: str):
    with pytest.raises(SystemExit, match="not a version from a registry"):
        pin.pins_of(f"peft==1.0\n{line}\n")
