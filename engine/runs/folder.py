"""The files of a run folder: the one home for their names."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOCKET_BYTES = 107  # the most that a Unix socket's path may have


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
    def summary(self) -> Path:
        """What the list of runs shows of the spec, quicker to read; need not be there."""
        return self.path / "summary.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """All of the engine's stdout and stderr."""
        return self.path / "engine.log"

    @property
    def dropped(self) -> Path:
        """The rows that were left out, one a line, each with its number and the reason."""
        return self.path / "dropped.jsonl"

    @property
    def lock(self) -> Path:
        """Held by `flock` while an engine lives; the kernel frees it however the engine dies."""
        return self.path / "lock"

    @property
    def draft(self) -> Path:
        """There once an engine was made to wait here: until it trains, the run is no more than a try."""
        return self.path / ".draft"

    @property
    def launched(self) -> Path:
        """The process that was started as the engine: until it holds the lock, nothing else tells of it."""
        return self.path / ".launched"

    @property
    def label(self) -> Path:
        """What the user calls the run, and a note: not part of what was trained."""
        return self.path / "label.json"

    @property
    def confirmed(self) -> Path:
        """Holds the hash of the command that may be carried out after this run."""
        return self.path / ".confirmed"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained LoRA adapter with its tokenizer; there only when complete."""
        return self.path / "adapter"

    @property
    def has_adapter(self) -> bool:
        """Whether there is one to load."""
        return (self.adapter / "adapter_config.json").is_file()

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @property
    def socket(self) -> Path:
        """The control socket, where the run's engine says that it listens: TMPDIR may differ between logins."""
        try:
            return Path(self.socket_note.read_text("utf-8", "surrogateescape"))
        except OSError:
            return self.new_socket

    @property
    def socket_note(self) -> Path:
        """Where the path of the socket is written down while an engine lives."""
        return self.path / ".socket"

    @property
    def new_socket(self) -> Path:
        """Where an engine is to listen: outside the run folder, since a socket's path may have 107 bytes at most
        and mounted drives may not take sockets."""
        key = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:24]
        name = os.path.join(f"loris-{os.getuid()}", f"{key}.sock")
        path = Path(tempfile.gettempdir(), name)
        return path if len(os.fsencode(path)) <= SOCKET_BYTES else Path("/tmp", name)
