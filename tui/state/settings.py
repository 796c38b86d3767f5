"""The user's settings, kept between logins. Not part of any run."""

import os
import re
from pathlib import Path

import msgspec

from engine.config.files import set_aside
from engine.config.paths import LLAMA_CPP_VARIABLE, home
from engine.config.spec_files import write_atomically


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`language` is empty until the user has chosen one: then the locale decides.

    `price_per_hour`: what this machine costs; 0 when not set. `currency`: free text, such as USD.
    `bell`: whether the terminal rings when training ends.
    `llama_cpp`: the folder of the llama.cpp that makes GGUF files; empty to look for one.
    """

    language: str = ""
    price_per_hour: float = 0.0
    currency: str = ""
    bell: bool = True
    llama_cpp: str = ""


def _path() -> Path:
    return home()[1] / "settings.json"


def load_settings() -> Settings:
    """The settings, or the defaults when there are none or they cannot be read."""
    return _read() or Settings()


def _read() -> Settings | None:
    try:
        return msgspec.json.decode(_path().read_bytes(), type=Settings)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save_settings(settings: Settings) -> None:
    """Save the settings; a file that cannot be read, as after an edit by hand, is kept aside.

    If the home cannot be written, they last for this session only.
    """
    try:
        if _path().is_file() and _read() is None:
            set_aside(_path())
        write_atomically(_path(), msgspec.json.encode(settings).decode())
    except OSError:
        return


def llama_cpp_folder() -> str:
    """The llama.cpp folder that the user has set: in the environment, as for Unsloth, or in the Save screen."""
    return os.environ.get(LLAMA_CPP_VARIABLE, "").strip() or load_settings().llama_cpp


def set_llama_cpp_variable() -> None:
    """Set the environment variable for engines that are started from here, from the settings."""
    if folder := llama_cpp_folder():
        os.environ[LLAMA_CPP_VARIABLE] = folder


def remember_llama_cpp(folder: str) -> None:
    """Save this folder and set it for engines that are started from here; empty: unset it."""
    os.environ.pop(LLAMA_CPP_VARIABLE, None)
    if folder:
        os.environ[LLAMA_CPP_VARIABLE] = folder
    save_settings(msgspec.structs.replace(load_settings(), llama_cpp=folder))


def parse_price(text: str) -> tuple[float, str] | None:
    """(price, currency) of a text such as "1.20 USD" or "$2"; (0, "") for an empty one; None for anything else."""
    if not text.strip():
        return 0.0, ""
    found = re.fullmatch(r"([^\d.,-]*)(\d+(?:[.,]\d+)?)([^\d.,]*)", text.strip())
    if not found:
        return None
    return float(found[2].replace(",", ".")), (found[1].strip() or found[3].strip())[:12]
