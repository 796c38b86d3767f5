"""What the engine reports, one JSON object a line in `events.jsonl`, in the order in which it happened.

Units are in the names or the docstrings: bytes, seconds. Times are the engine's: `time` is the wall clock
(seconds since 1970), `elapsed` counts from the engine's start on a clock that never jumps back.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.config.change import Change
from engine.config.oom_fallback import OutOfMemory
from engine.messages.errors import UserError
from engine.messages.message import Message

Stage = Literal[
    "starting",  # the process is up; the heavy libraries are being imported
    "loading",  # the base model is being fetched and loaded
    "ready",  # the base model answers; waiting to be told to train
    "preparing",  # adapter and data are being made
    "training",
    "saving",
    "serving",  # trained (or loaded again): answers with and without the adapter, exports
    "exporting",
    "ended",
]
Outcome = Literal["completed", "stopped"]
ExportKind = Literal["adapter", "merged_16bit", "merged_4bit", "gguf"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """Something that happened. `time`, `elapsed`: see the module."""

    time: float = 0.0
    elapsed: float = 0.0


class EngineStarted(Event, frozen=True, kw_only=True):
    """First of all, before the heavy import. `versions` names the packages that matter, without importing them.

    `boot_id`, `memory_kills`: of the machine, to tell later how an engine went that said no last word.
    """

    pid: int
    hostname: str
    versions: dict[str, str]
    boot_id: str = ""
    memory_kills: int = 0


class StageChanged(Event, frozen=True, kw_only=True):
    """The engine went on to `stage`."""

    stage: Stage


class Notice(Event, frozen=True, kw_only=True):
    """Something the user should know, such as a setting replaced by what the hardware can do."""

    code: str
    message: Message
    level: Literal["info", "warning"] = "info"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The hardware that computes. `total_bytes`: the card's memory, or the machine's for a CPU."""

    kind: Literal["cuda", "hip", "xpu", "cpu"]
    name: str
    total_bytes: int
    count: int = 1


class ModelLoaded(Event, frozen=True, kw_only=True):
    """The base model is in memory. `reserved_bytes`: what it took of the device's memory."""

    model_name: str
    parameters: int
    dtype: str
    load_in_4bit: bool
    device: Device
    reserved_bytes: int
    chat_template: bool = False
    has_adapter: bool = False


class AdapterAdded(Event, frozen=True, kw_only=True):
    """Counts of parameters, of the adapter and in all."""

    trainable_parameters: int
    total_parameters: int


class DatasetReady(Event, frozen=True, kw_only=True):
    """The data as the trainer sees it. The example is the first row, as found and as it will be learned.

    `learned`: the decoded text of the tokens that count in the loss. `tokens`, `learned_tokens`: over all rows.
    """

    rows: int
    eval_rows: int
    format: str
    columns: tuple[str, ...]
    tokens: int
    learned_tokens: int
    truncated_rows: int
    instruction_part: str
    response_part: str
    example_raw: str
    example_text: str
    example_learned: str


class TrainingStarted(Event, frozen=True, kw_only=True):
    """`reserved_bytes`: the device's memory in use before the first step."""

    total_steps: int
    num_train_epochs: float
    effective_batch_size: int
    optim: str
    dtype: str
    reserved_bytes: int


class Step(Event, frozen=True, kw_only=True):
    """A logged step. `grad_norm` and `tokens_per_second` are None where not measured.

    `loss` is None where it is no number (JSON has none of that kind): training has diverged.
    `metrics`: what the training method reports of itself, by the trainer's names; left out where there is nothing.
    """

    step: int
    epoch: float
    loss: float | None
    learning_rate: float
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    reserved_bytes: int = 0
    peak_reserved_bytes: int = 0
    metrics: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class Evaluated(Event, frozen=True, kw_only=True):
    """The loss on the held-out rows."""

    step: int
    eval_loss: float


class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A checkpoint is complete on disk, verified. `eval_loss`: measured at this step; `best`: the lowest so far."""

    step: int
    path: str
    eval_loss: float | None = None
    best: bool = False


class Resumed(Event, frozen=True, kw_only=True):
    """Training goes on from the checkpoint at `step`; the steps after it are done again."""

    step: int
    path: str


class Stopped(Event, frozen=True, kw_only=True):
    """The engine ends because it was told to, in `stage`. What is whole on disk: `checkpoint` is the step of the
    newest verified one, None without; `adapter` whether the trained adapter is there."""

    mode: Literal["save", "now", "discard"]
    stage: Stage
    checkpoint: int | None = None
    adapter: bool = False


class TrainingFinished(Event, frozen=True, kw_only=True):
    """The GPU report of the notebooks. `seconds`: of training alone.

    `training_bytes` is what training added to `start_reserved_bytes`, and `peak_reserved_bytes` is the sum.
    """

    outcome: Outcome
    steps: int
    train_loss: float | None
    seconds: float
    device: Device
    start_reserved_bytes: int
    peak_reserved_bytes: int

    @property
    def training_bytes(self) -> int:
        return max(0, self.peak_reserved_bytes - self.start_reserved_bytes)


class Exported(Event, frozen=True, kw_only=True):
    """Something was saved whole at `path`. The adapter in the run folder is the first of these.

    `verified`: what was done to check it, and what that showed; None for what was not loaded back.
    `quantizations`: of a GGUF. `adapter_sha256`: of the adapter that it was made from; empty when not known.
    """

    kind: ExportKind
    path: str
    total_bytes: int
    seconds: float
    quantizations: tuple[str, ...] = ()
    verified: Message | None = None
    adapter_sha256: str = ""


PushStep = Literal["checking", "uploading", "verifying"]


class Pushing(Event, frozen=True, kw_only=True):
    """A push to the Hub goes on. `file`: the one being sent; `waiting`: seconds until another try."""

    kind: ExportKind
    repo_id: str
    step: PushStep
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    waiting: float = 0.0


class Pushed(Event, frozen=True, kw_only=True):
    """Everything is on the Hub at `url`, and the Hub's list of files was compared with what is here."""

    kind: ExportKind
    path: str
    repo_id: str
    url: str
    commit: str
    private: bool
    files: int
    total_bytes: int
    seconds: float


class PushFailed(Event, frozen=True, kw_only=True):
    """A push did not get there. A retry goes on from what the Hub has. `code` cancelled: someone gave it up."""

    kind: ExportKind
    repo_id: str
    code: str
    message: Message
    hint: Message | None = None
    field: str = ""


class Answered(Event, frozen=True, kw_only=True):
    """An answer to one of the spec's test prompts, from the base model or with the adapter.

    `step`: at which checkpoint, while training goes on; None before it and after it.
    """

    prompt: str
    answer: str
    adapter: bool
    tokens: int
    seconds: float
    finish_reason: Literal["eos", "length", "cancelled"]
    step: int | None = None


class Failed(Event, frozen=True, kw_only=True):
    """The run cannot go on. `field` is set when a setting is to blame: then the exit code is 2.

    `message` says the cause in a sentence and `hint` what to try; the details are in `engine.log`.
    `changes`: settings with which it should work; taken together, they keep the result the same if they can.
    """

    code: str
    message: Message
    hint: Message | None = None
    field: str = ""
    stage: Stage = "starting"
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, error: UserError, stage: Stage) -> Failed:
        changes = error.changes if isinstance(error, OutOfMemory) else ()
        return cls(**error.as_values(), stage=stage, changes=changes)


class EngineEnded(Event, frozen=True, kw_only=True):
    """Last of all. `exit_code`: see `engine.messages.exit_codes`."""

    exit_code: int


AnyEvent = (
    EngineStarted | StageChanged | Notice | ModelLoaded | AdapterAdded | DatasetReady | TrainingStarted | Step
    | Evaluated | CheckpointSaved | Resumed | Stopped | TrainingFinished | Exported | Pushing | Pushed | PushFailed
    | Answered | Failed | EngineEnded
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """One line, with its newline."""
    return _encoder.encode(event) + b"\n"


def decode(line: bytes) -> AnyEvent | None:
    """The event on a line, or None when a newer Loris or a broken disk wrote something else."""
    try:
        event: AnyEvent = _decoder.decode(line)
        return event
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
