"""The run that the screens show: its engine, the end of its log, and the conversation with its model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from engine.client.backend import Backend, LogSource
from engine.client.engine_client import EngineClient
from engine.config.run_spec import GenerationSpec, RunSpec
from engine.runs.folder import RunFolder
from tui.text.sanitize import visible

LOG_LINES = 5000
LINE_CHARS = 2000  # of a line: the rest is in the file


@dataclass
class Turn:
    """One turn of a conversation: a question and the answer of each model. Text is not sanitised.

    `input`: what the question is about, for a model trained on instructions with an input.
    """

    question: str
    answers: list[Answer]
    input: str = ""


@dataclass
class Answer:
    """`adapter`: whether it answered with an adapter. `note`: such as its speed, or why there is no answer.

    `other`: the run folder whose adapter it was, if not this run's. `warning`: why it did not end by itself.
    `title`: shown in place of who answered. `whole`: all weights of the run's model were trained.
    """

    adapter: bool
    text: str = ""
    note: str = ""
    failed: bool = False
    other: str = ""
    warning: str = ""
    title: str = ""
    whole: bool = False


class RunSession(EngineClient):
    """Lines of the log and `log_line` are sanitised."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.log_total = 0
        self.turns: list[Turn] = []  # the conversation with this run's model
        self.transcript: Path | None = None  # its file, once there is something to save
        self.other = ""  # the folder of another run, to compare its adapter with this one's
        self.generation: GenerationSpec | None = None  # once the user has changed it
        self._log: LogSource | None = None

    def attach(self, folder: RunFolder, spec: RunSpec | None = None) -> None:
        if folder != self.folder:
            self.turns, self.generation, self.transcript, self.other = [], None, None, ""
        super().attach(folder, spec)
        self._forget_log()
        self._log = self.backend.log(folder)

    def detach(self) -> None:
        super().detach()
        self._forget_log()
        self.turns = []

    def _forget_log(self) -> None:
        self._log = None
        self.log.clear()
        self.log_total, self.log_line = 0, ""

    def poll(self) -> bool:
        changed = super().poll()
        if self._log is None:
            return changed
        lines = self._log.poll()
        self.log.extend(visible(line[:LINE_CHARS]) for line in lines)
        self.log_total += len(lines)
        before, self.log_line = self.log_line, visible(self._log.partial[:LINE_CHARS])
        return changed or bool(lines) or before != self.log_line

    @property
    def scores(self) -> bool:
        """Whether the run's model scores texts instead of writing them."""
        return bool(self.state.model and self.state.model.scores)

    @property
    def title(self) -> str:
        """The run's name in its spec, else its folder's name; empty without a run."""
        if self.spec and self.spec.name:
            return self.spec.name
        return self.folder.name if self.folder else ""
