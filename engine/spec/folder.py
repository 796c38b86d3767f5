"""Where things lie: Loris's own folders, and the files of a run folder. The one home for every path."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_config_path, user_data_path


def home() -> tuple[Path, Path]:
    """(data, configuration) folders of this user. `LORIS_HOME` puts both in one place."""
    if own := os.environ.get("LORIS_HOME"):
        return Path(own).expanduser(), Path(own).expanduser()
    return user_data_path("loris"), user_config_path("loris")


def runs_folder() -> Path:
    """Where runs are made and listed. A run elsewhere (training.output_dir) is listed by a link from here."""
    return home()[0] / "runs"


def user_presets_folder() -> Path:
    return home()[1] / "presets"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run. Nothing is created by naming it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Path:
        return self.path / "spec.yaml"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """All of the engine's stdout and stderr."""
        return self.path / "engine.log"

    @property
    def lock(self) -> Path:
        """Held by `flock` while an engine lives; the kernel frees it however the engine dies."""
        return self.path / "lock"

    @property
    def draft(self) -> Path:
        """There once an engine was made to wait here: until it trains, the run is no more than a try."""
        return self.path / ".draft"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained LoRA adapter with its tokenizer; there only when complete."""
        return self.path / "adapter"

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @property
    def socket(self) -> Path:
        """The control socket: outside the run folder, since a socket's path may have 107 bytes at most and
        mounted drives may not take sockets. The same run has the same path in every login."""
        key = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:24]
        return Path(tempfile.gettempdir()) / f"loris-{os.getuid()}" / f"{key}.sock"
