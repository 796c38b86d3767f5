"""Fetching and building llama.cpp, with stand-ins for pip, cmake and the compiler: complete or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from engine.export import build_llama_cpp
from engine.export.build_llama_cpp import VERSION, fetch_and_build, requirements
from engine.export.cancellation import Cancelled
from engine.export.llama_cpp import built_folder, find_llama_cpp
from engine.messages.errors import UserError
from tests.helpers.waiting import wait_for
from tui.cli.main import main

# Puts the sources where the real package has them; $* is the folder after --target.
INSTALLS = """while [ "$1" != --target ]; do shift; done
cat "$4" >> {seen}
mkdir -p "$2/vendor/llama.cpp/conversion" "$2/vendor/llama.cpp/gguf-py"
cd "$2/vendor/llama.cpp"
touch CMakeLists.txt LICENSE
echo "# --outtype" > convert_hf_to_gguf.py"""
# Builds a program that prints the types it supports.
BUILDS = """if [ "$1" = -S ]; then mkdir -p "$4/bin"; exit 0; fi
for n in 1 2 3; do echo "[$n/3] Building CXX object $n.o"; done
printf '#!/bin/sh\\necho usage; echo " 15  or  Q4_K_M"; echo " 30  or  IQ4_XS"; exit 1' > "$2/bin/llama-quantize"
chmod +x "$2/bin/llama-quantize\""""


class Machine:
    """Programs on the PATH, and the result of a build with them."""

    def __init__(self, place: Path) -> None:
        self.bin, self.seen = place / "bin", place / "seen"
        self.bin.mkdir()
        for name in ("sh", "cat", "mkdir", "touch", "chmod", "sleep", "echo"):
            (self.bin / name).symlink_to(shutil.which(name) or "")
        self.has("c++", "exit 0")
        self.has("ninja", "exit 0")
        self.has("uv", INSTALLS.format(seen=self.seen))
        self.has("cmake", BUILDS)
        self.reported: list[tuple[str, int, int]] = []

    def has(self, name: str, does: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{does}\n")
        (self.bin / name).chmod(0o755)

    def fetch(self) -> Path:
        return fetch_and_build(lambda *all: self.reported.append(all))

    def fails(self, code: str, words: str) -> UserError:
        with pytest.raises(UserError) as error:
            self.fetch()
        assert error.value.code == code
        assert words in str(error.value.message)
        assert left() == ["llama.cpp.log"]
        return error.value


def left() -> list[str]:
    place = built_folder().parent
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(build_llama_cpp, "find_spec", lambda name: None)  # no pip: uv, which is on the PATH
    return made


def test_what_was_built_is_found_and_nothing_else_is_left(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH", raising=False)
    assert find_llama_cpp().status == "missing"
    assert requirements().error is None
    folder = machine.fetch()
    assert folder == built_folder()
    assert left() == ["llama.cpp", "llama.cpp.log"]
    assert sorted(os.listdir(folder)) == [
        "LICENSE",
        "conversion",
        "convert_hf_to_gguf.py",
        "gguf-py",
        "llama-quantize",
        "loris-manifest.json",
    ]
    found = find_llama_cpp()
    assert (found.status, found.folder) == ("ready", folder)
    assert f"=={VERSION} --hash=sha256:" in machine.seen.read_text()
    assert list(dict.fromkeys(step for step, _, _ in machine.reported)) == [
        "fetching", "configuring", "building", "checking",
    ]  # fmt: skip
    assert ("building", 3, 3) in machine.reported
    assert "Building CXX object 2.o" in build_llama_cpp.log_path().read_text()
    machine.fetch()  # again, replacing it
    assert left() == ["llama.cpp", "llama.cpp.log"]


def test_what_is_missing_is_reported_before_anything_is_fetched(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.bin / "c++").unlink()
    assert "apt-get install g++" in str(requirements().error)
    with pytest.raises(UserError, match="compiler"):
        machine.fetch()
    assert left() == []
    assert not machine.seen.exists()
    machine.has("g++", "exit 0")
    (machine.bin / "uv").unlink()
    assert "Neither pip nor uv" in str(requirements().error)
    machine.has("uv", "exit 0")
    monkeypatch.setattr(build_llama_cpp, "DISK_BYTES", 1 << 60)
    assert "MB free" in str(requirements().error)
    (machine.bin / "cmake").unlink()
    assert requirements().download_bytes > build_llama_cpp.SOURCES_BYTES, "cmake is fetched as well"


@pytest.mark.parametrize(
    ("program", "does", "code", "words"),
    [
        ("uv", "echo 'error: Failed to fetch: no route to host'; exit 2", "llama_fetch", "no route to host"),
        ("uv", "exit 0", "llama_broken", "no sources"),
        ("cmake", "echo 'CMake Error: CMake 3.14 or higher is required'; exit 1", "llama_fetch", "3.14 or higher"),
        ("cmake", "[ $1 = -S ] && exit 0\necho 'x.cpp:1: fatal error: no such file'\necho stop; exit 1",
         "llama_fetch", "fatal error: no such file"),
        ("cmake", "echo 'No space left on device'; exit 1", "disk_full", "full"),
        ("cmake", BUILDS.replace("echo usage", "echo Illegal instruction"), "llama_broken", "does not work"),
    ],
    ids=["no network", "another package", "an old cmake", "does not compile", "full disk", "does not run"],
)  # fmt: skip
def test_a_failure_leaves_the_log_alone_and_another_try_succeeds(
    machine: Machine, program: str, does: str, code: str, words: str
) -> None:
    good = (machine.bin / program).read_text()
    machine.has(program, does)
    failed = machine.fails(code, words)
    assert code == "disk_full" or str(build_llama_cpp.log_path()) in str(failed.hint)
    (machine.bin / program).write_text(good)
    assert machine.fetch() == built_folder()


def test_one_that_works_is_kept_when_a_newer_one_fails(machine: Machine) -> None:
    machine.fetch()
    machine.has("cmake", "exit 1")
    with pytest.raises(UserError):
        machine.fetch()
    assert find_llama_cpp(str(built_folder())).status == "ready"


def test_cancelling_ends_all_that_it_started(machine: Machine, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    machine.has("cmake", f"[ $1 = -S ] && exit 0\nsleep 300 &\necho $! > {pid}.new\n/bin/mv {pid}.new {pid}\nwait")
    cancelled = threading.Event()
    threading.Thread(target=lambda: (wait_for(pid.exists), cancelled.set())).start()
    with pytest.raises(Cancelled):
        fetch_and_build(lambda *_: None, cancelled.is_set)
    assert left() == ["llama.cpp.log"]
    wait_for(lambda: not os.path.exists(f"/proc/{pid.read_text().strip()}"), 10)


# The command


@pytest.fixture
def export(tmp_path: Path) -> list[str]:
    """A command line that gets no further than llama.cpp: a file is in the way of its target."""
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "spec.yaml").write_text("{}")
    (tmp_path / "run" / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "taken").write_text("mine")
    return ["export", str(tmp_path / "run"), "--gguf", "q4_k_m", "--to", str(tmp_path / "taken")]


def test_the_command_fetches_it_only_on_request(
    machine: Machine, export: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(export) == 2
    err = capsys.readouterr().err
    assert err.startswith("--llama-cpp: ")
    assert "--fetch-llama-cpp" in err
    assert not machine.seen.exists()
    machine.has("cmake", "echo 'CMake Error: nothing works'; exit 1")
    assert main([*export, "--fetch-llama-cpp"]) == 1
    assert "nothing works" in capsys.readouterr().err
    machine.has("cmake", BUILDS)
    assert main([*export, "--fetch-llama-cpp"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "downloading llama.cpp"
    assert "building llama.cpp, 3/3 (100%)" in said
    assert said[-1].startswith("--to: "), "it went on with the llama.cpp that it built"
    fetched = machine.seen.read_text()
    assert main([*export, "--fetch-llama-cpp"]) == 2
    assert machine.seen.read_text() == fetched, "what is there is not fetched again"


def test_ctrl_c_cancels_the_fetching(
    machine: Machine, export: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = tmp_path / "pid"
    machine.has("cmake", f"[ $1 = -S ] && exit 0\necho $$ > {pid}\nexec sleep 300")
    threading.Thread(target=lambda: (wait_for(pid.exists), os.kill(os.getpid(), signal.SIGINT))).start()
    assert main([*export, "--fetch-llama-cpp"]) == 130
    assert capsys.readouterr().err.endswith("Cancelled.\n")
    assert left() == ["llama.cpp.log"]
