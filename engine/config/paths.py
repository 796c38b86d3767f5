"""Loris's own folders: runs, presets, cache."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path


def home() -> tuple[Path, Path]:
    """(data, configuration) folders of this user. `LORIS_HOME` puts both in one folder."""
    if own := os.environ.get("LORIS_HOME"):
        return Path(own).expanduser(), Path(own).expanduser()
    return user_data_path("loris"), user_config_path("loris")


LLAMA_CPP_VARIABLE = "UNSLOTH_LLAMA_CPP_PATH"  # the folder of llama.cpp, also read by Unsloth


def cache_folder() -> Path:
    """Files that Loris can make again, such as its own build of llama.cpp."""
    own = os.environ.get("LORIS_HOME")
    return Path(own).expanduser() / "cache" if own else user_cache_path("loris")


def runs_folder() -> Path:
    """Where runs are created and listed. A run elsewhere (training.output_dir) is listed by a symlink in here."""
    return home()[0] / "runs"


def user_presets_folder() -> Path:
    return home()[1] / "presets"
