"""The files of a run folder: the only module that names them."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.config.files import read_text

SOCKET_BYTES = 107  # maximum length of a Unix socket's path


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run's files. Creates nothing."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Path:
        return self.path / "spec.yaml"

    @property
    def summary(self) -> Path:
        """The fields of the spec that the list of runs shows, faster to read; optional."""
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
        """The dropped rows, one per line, each with its number and the reason."""
        return self.path / "dropped.jsonl"

    @property
    def rewards(self) -> Path:
        """A copy of the user's file of reward functions that the run last used."""
        return self.path / "rewards.py"

    @property
    def lock(self) -> Path:
        """Locked with `flock` while an engine is alive; the kernel releases it however the engine dies."""
        return self.path / "lock"

    @property
    def draft(self) -> Path:
        """Exists once an engine was started with --wait: until it trains, the run is a draft."""
        return self.path / ".draft"

    @property
    def pid_file(self) -> Path:
        """The process that was started as the engine: the only trace of it until it holds the lock."""
        return self.path / ".launched"

    @property
    def label(self) -> Path:
        """The user's title and note for the run: not part of the spec."""
        return self.path / "label.json"

    @property
    def old_consent(self) -> Path:
        """Where older versions kept a consent. Not read: whoever made the folder could have put it there."""
        return self.path / ".confirmed"

    @property
    def chats(self) -> Path:
        """The conversations with the run's model."""
        return self.path / "chats"

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The files that Loris writes directly into the folder."""
        return (
            self.events, self.log, self.dropped, self.rewards, self.draft, self.pid_file, self.label,
            self.old_consent, self.socket_path_file, self.summary, self.spec, self.lock,
        )  # fmt: skip

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The trained LoRA adapter with its tokenizer; exists only when complete."""
        return self.path / "adapter"

    @property
    def start_adapter(self) -> Path:
        """A copy of the adapter that training continues from: what answered before training. Only in such runs."""
        return self.path / "start-adapter"

    @property
    def model(self) -> Path:
        """The whole model with its tokenizer, of a run that trained all weights; exists only when complete."""
        return self.path / "model"

    @property
    def result(self) -> Path:
        """What training made: the whole model if there is one, else the adapter."""
        return self.model if self.model.is_dir() else self.adapter

    @property
    def has_result(self) -> bool:
        """Whether there is a trained adapter or model to load."""
        return (self.adapter / "adapter_config.json").is_file() or (self.model / "config.json").is_file()

    @property
    def exports(self) -> Path:
        return self.path / "exports"

    @property
    def socket(self) -> Path:
        """The control socket, as the run's engine recorded it: TMPDIR may differ between logins."""
        recorded = read_text(self.socket_path_file)
        return Path(recorded) if recorded else self.default_socket

    @property
    def socket_path_file(self) -> Path:
        """The file with the socket's path, while an engine is alive."""
        return self.path / ".socket"

    @property
    def default_socket(self) -> Path:
        """Where a new engine listens: outside the run folder, because a socket's path is limited to 107 bytes and
        mounted drives may not support sockets."""
        key = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:24]
        name = os.path.join(f"loris-{os.getuid()}", f"{key}.sock")
        path = Path(tempfile.gettempdir(), name)
        return path if len(os.fsencode(path)) <= SOCKET_BYTES else Path("/tmp", name)
