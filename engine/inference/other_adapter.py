"""A second adapter next to the run's own, to compare two runs: both share one copy of the base weights."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.messages.errors import UserError, last_line
from engine.messages.message import say
from engine.model.loading import QUANTISED, Loaded
from engine.runs.manifest import require_intact

OWN = "default"  # PEFT's name for the adapter that the model was trained or loaded with


def adapter_folder(location: str) -> Path:
    """The adapter's folder, given it or the folder of its run. Raises `UserError`."""
    path = Path(os.path.expanduser(location))
    for folder in (path, path / "adapter"):
        if (folder / "adapter_config.json").is_file():
            return folder
    raise UserError("adapter_missing", say("There is no adapter in {path}.", path=str(path)))


def base_model_of(folder: Path) -> str:
    """The base model of an adapter, without the suffix of a quantised one. Raises `UserError` for a broken file."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        return _unquantised(str(config["base_model_name_or_path"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = last_line(error)
        raise UserError(
            "adapter_broken",
            say("The adapter in {path} cannot be read: {reason}", path=str(folder), reason=reason),
        ) from error


def _unquantised(name: str) -> str:
    return QUANTISED.sub("", name).rstrip("/").lower()


class OtherAdapter:
    """The other adapter on a loaded model: one at a time, so that memory does not grow with each one."""

    def __init__(self) -> None:
        self._name = ""

    @contextmanager
    def use(self, loaded: Loaded, location: str) -> Iterator[None]:
        """Switch to the adapter in `location`, then back to the run's. Raises `UserError` if it does not fit."""
        folder = adapter_folder(location)
        own, theirs = loaded.model.peft_config[OWN].base_model_name_or_path, base_model_of(folder)
        if _unquantised(str(own)) != theirs:
            raise UserError(
                "adapter_unfit",
                say(
                    "The adapter in {path} was trained on {theirs}, and this model is {own}.",
                    path=str(folder), theirs=theirs, own=str(own),
                ),
            )  # fmt: skip
        changed = (folder / "adapter_config.json").stat().st_mtime_ns
        name = "other_" + hashlib.sha256(f"{folder.resolve()}:{changed}".encode()).hexdigest()[:12]
        if name != self._name:
            require_intact(folder)
            self.drop(loaded)
            try:
                loaded.model.load_adapter(str(folder), adapter_name=name, torch_device=str(loaded.model.device))
            except Exception as error:  # shapes that do not match, a truncated file
                if name in loaded.model.peft_config:
                    loaded.model.delete_adapter(name)
                raise UserError(
                    "adapter_unfit",
                    say(
                        "The adapter in {path} cannot be read: {reason}",
                        path=str(folder), reason=last_line(error),
                    ),
                ) from error  # fmt: skip
            self._name = name
        loaded.model.set_adapter(name)
        try:
            yield
        finally:
            loaded.model.set_adapter(OWN)

    def drop(self, loaded: Loaded) -> None:
        """Remove the other adapter, so that it is not saved or merged."""
        if self._name:
            loaded.model.set_adapter(OWN)
            loaded.model.delete_adapter(self._name)
            self._name = ""
