"""Finds llama.cpp, which makes GGUF files, and checks that it can be used. Runs only `--help`."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.config.paths import LLAMA_CPP_VARIABLE, cache_folder
from engine.messages.message import Message, say

QUANTIZERS = ("llama-quantize", "build/bin/llama-quantize", "quantize")
CONVERTERS = ("unsloth_convert_hf_to_gguf.py", "convert_hf_to_gguf.py", "convert-hf-to-gguf.py")
HELP_SECONDS = 10.0
NEWEST_ASKED_FOR = "IQ4_XS"  # a program without it does not support today's models
WHERE_FROM = "https://github.com/ggml-org/llama.cpp"


@dataclass(frozen=True)
class LlamaCpp:
    """A llama.cpp that was found. `error` is None when it can be used; `version` is empty when not known."""

    status: Literal["ready", "missing", "broken", "old"]
    folder: Path | None = None
    quantizer: Path | None = None
    converter: Path | None = None
    version: str = ""
    error: Message | None = None
    types: frozenset[str] = frozenset()  # the types that its quantiser supports, in lower case

    def lacks(self, quantizations: tuple[str, ...]) -> Message | None:
        """Why one of the quantisations cannot be made with it; None when all can."""
        for name in quantizations:
            if name.removesuffix("_l") not in self.types and name not in self.types:
                return say("This llama.cpp cannot make {name}: use another quantisation.", name=name)
        return None


def find_llama_cpp(typed: str = "") -> LlamaCpp:
    """The llama.cpp at `typed`, or else Loris's own build, Unsloth's, or the PATH's. Runs its programs."""
    named = typed.strip() or os.environ.get(LLAMA_CPP_VARIABLE, "").strip()
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            return LlamaCpp("missing", folder, error=say("There is no folder {path}.", path=str(folder)))
        return inspect_llama_cpp(folder)
    places = [built_folder(), Path.home() / ".unsloth" / "llama.cpp"]
    if on_path := shutil.which("llama-quantize"):
        real = Path(on_path).resolve()
        places += [real.parent, real.parent.parent.parent]  # next to the program, or above build/bin
    found = [inspect_llama_cpp(place) for place in places if place.is_dir()]
    best = next((one for one in found if one.status == "ready"), None) or next(iter(found), None)
    return best or LlamaCpp("missing", error=missing())


def built_folder() -> Path:
    """Where Loris puts its own build."""
    return cache_folder() / "llama.cpp"


def missing() -> Message:
    """What to do when there is none."""
    return say(
        "GGUF files are made with llama.cpp, which was not found. Give its folder (or set "
        "{variable}), or let Loris download and build it.",
        variable=LLAMA_CPP_VARIABLE,
    )  # fmt: skip


def inspect_llama_cpp(folder: Path) -> LlamaCpp:
    """Check the llama.cpp in a folder: both programs must exist, run, and be recent enough."""
    folder = folder.absolute()
    quantizer = next((p for name in QUANTIZERS if (p := folder / name).is_file()), None)
    converter = next((p for name in CONVERTERS if (p := folder / name).is_file()), None)
    if quantizer is None or converter is None:
        lacking = "llama-quantize" if quantizer is None else CONVERTERS[1]
        message = say(
            "The llama.cpp in {folder} has no {file}: build it, or name another folder.",
            folder=str(folder), file=lacking,
        )  # fmt: skip
        return LlamaCpp("broken", folder, quantizer, converter, error=message)
    help_text, why = _help(quantizer)
    if why:
        message = say(
            "{file} cannot be run ({reason}): build llama.cpp again for this machine.",
            file=str(quantizer), reason=why,
        )  # fmt: skip
        return LlamaCpp("broken", folder, quantizer, converter, error=message)
    version = _version(folder)
    types = frozenset(name.lower() for name in re.findall(r"^ *\d+ +or +(\w+)", help_text, re.MULTILINE))
    if NEWEST_ASKED_FOR.lower() not in types or "--outtype" not in _source(converter):
        message = say(
            "The llama.cpp in {folder} is too old: get a newer one from {where}.",
            folder=str(folder), where=WHERE_FROM,
        )  # fmt: skip
        return LlamaCpp("old", folder, quantizer, converter, version, message)
    return LlamaCpp("ready", folder, quantizer, converter, version, types=types)


def _help(program: Path) -> tuple[str, str]:
    """(the program's help, why it could not be run)."""
    try:
        ran = subprocess.run(
            [str(program), "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=HELP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer in {HELP_SECONDS:.0f} s"
    except OSError as error:
        return "", error.strerror or str(error)
    text = (ran.stdout + ran.stderr).decode(errors="replace")
    if "usage" not in text.lower():  # it ends with 1 after its help
        last = text.strip().splitlines()[-1:] or [f"exit code {ran.returncode}"]
        return "", last[0][:200]
    return text, ""


def _version(folder: Path) -> str:
    """The build number, where the folder has it."""
    for name in ("build/common/build-info.cpp", "common/build-info.cpp"):
        found = re.search(r"LLAMA_BUILD_NUMBER *= *(\d+)", _source(folder / name))
        if found and found[1] != "0":
            return f"b{found[1]}"
    return ""


def _source(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")[:200_000]
    except OSError:
        return ""
