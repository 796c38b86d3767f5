"""What the engine reports: one JSON object per line in `events.jsonl`, in order.

Units are in the names or the docstrings: bytes, seconds. Times are the engine's: `time` is the wall clock
(seconds since 1970), `elapsed` counts from the engine's start on a clock that never jumps back.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.config.change import Change
from engine.config.oom_fallback import OutOfMemory
from engine.messages.errors import UserError
from engine.messages.message import Message

Stage = Literal[
    "starting",  # the process runs; the slow libraries are being imported
    "loading",  # the base model is being downloaded and loaded
    "ready",  # the base model answers; waiting for `Train`
    "preparing",  # the adapter is added, the data is tokenised
    "training",
    "saving",
    "serving",  # trained, or an earlier adapter loaded: answers with and without it, exports
    "exporting",
    "ended",
]
Outcome = Literal["completed", "stopped"]
ExportKind = Literal["adapter", "model", "merged_16bit", "merged_4bit", "gguf"]
RESULTS: tuple[ExportKind, ...] = ("adapter", "model")  # what training makes: model if it trained all weights
CONTINUES_ADAPTER = "adapter_continued"  # the notice of a run that trains an earlier adapter further


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """Something that happened. `time`, `elapsed`: see the module."""

    time: float = 0.0
    elapsed: float = 0.0


class EngineStarted(Event, frozen=True, kw_only=True):
    """The first event, before the slow imports. `versions`: of the main packages, read without importing them.

    `boot_id`, `memory_kills`: of the machine, to find out later why an engine died without an `EngineEnded`.
    """

    pid: int
    hostname: str
    versions: dict[str, str]
    boot_id: str = ""
    memory_kills: int = 0


class StageChanged(Event, frozen=True, kw_only=True):
    """The engine is now in `stage`."""

    stage: Stage


class Notice(Event, frozen=True, kw_only=True):
    """Something the user should know, such as a setting replaced by one that the hardware supports."""

    code: str
    message: Message
    level: Literal["info", "warning"] = "info"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The device that computes. `total_bytes`: the memory of the GPU, or of the machine for a CPU."""

    kind: Literal["cuda", "hip", "xpu", "cpu"]
    name: str
    total_bytes: int
    count: int = 1


class ModelLoaded(Event, frozen=True, kw_only=True):
    """The base model is in memory. `reserved_bytes`: device memory that it uses. `scores`: it is a reward model."""

    model_name: str
    parameters: int
    dtype: str
    load_in_4bit: bool
    device: Device
    reserved_bytes: int
    chat_template: bool = False
    has_adapter: bool = False
    scores: bool = False


class AdapterAdded(Event, frozen=True, kw_only=True):
    """Numbers of parameters that are trained, of an adapter or of the whole model, and in total."""

    trainable_parameters: int
    total_parameters: int


class DatasetReady(Event, frozen=True, kw_only=True):
    """The data as the trainer gets it. The example is the first row: raw, as text, and the part that is learned.

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
    """`reserved_bytes`: device memory in use before the first step."""

    total_steps: int
    num_train_epochs: float
    effective_batch_size: int
    optim: str
    dtype: str
    reserved_bytes: int


class Step(Event, frozen=True, kw_only=True):
    """A logged step. `grad_norm` and `tokens_per_second` are None where not measured.

    `loss` is None where it is NaN or infinite, which JSON cannot represent: training has diverged.
    `metrics`: numbers of the training method, by the trainer's names; left out where there are none.
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
    """The loss on the held-out rows. `metrics`: as those of a `Step`, without eval_ before the names."""

    step: int
    eval_loss: float
    metrics: dict[str, float] | msgspec.UnsetType = msgspec.UNSET


class ScoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the model, scored by rewards. `scores`: by the reward's name, None where it does not apply.

    `reward`: their weighted sum. `cut`: it reached the longest length without an end.
    """

    prompt: str
    answer: str
    scores: dict[str, float | None]
    reward: float
    cut: bool = False


class Completions(Event, frozen=True, kw_only=True):
    """Some answers that the model wrote while it learned from rewards. Step 0: a trial of the rewards."""

    step: int
    answers: tuple[ScoredAnswer, ...]


class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A checkpoint is complete on disk, verified. `eval_loss`: measured at this step; `best`: the lowest so far."""

    step: int
    path: str
    eval_loss: float | None = None
    best: bool = False


class Resumed(Event, frozen=True, kw_only=True):
    """Training continues from the checkpoint at `step`; later steps are repeated."""

    step: int
    path: str


class Stopped(Event, frozen=True, kw_only=True):
    """The engine ends in `stage` on a `Stop`. What is complete on disk: `checkpoint` is the step of the newest
    verified one, None without; `adapter` whether the trained adapter exists."""

    mode: Literal["save", "now", "discard"]
    stage: Stage
    checkpoint: int | None = None
    adapter: bool = False


class TrainingFinished(Event, frozen=True, kw_only=True):
    """The GPU report, as in the notebooks. `seconds`: of training only.

    `training_bytes`: what training added to `start_reserved_bytes`; the sum is `peak_reserved_bytes`.
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
    """An export is complete at `path`. The result in the run folder is the first one, an adapter or a whole model.

    `verified`: how it was checked and the result; None if it was not loaded again.
    `quantizations`: of a GGUF. `adapter_sha256`: of the result that it was made from; empty when unknown.
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
    """Progress of a push to the Hub. `file`: being uploaded; `waiting`: seconds until the next try."""

    kind: ExportKind
    repo_id: str
    step: PushStep
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    waiting: float = 0.0


class Pushed(Event, frozen=True, kw_only=True):
    """The push is complete at `url`, and the Hub's list of files was compared with the local files.

    `adapter_sha256`: as in `Exported`.
    """

    kind: ExportKind
    path: str
    repo_id: str
    url: str
    commit: str
    private: bool
    files: int
    total_bytes: int
    seconds: float
    adapter_sha256: str = ""


class PushFailed(Event, frozen=True, kw_only=True):
    """A push failed. A retry reuses what was uploaded. `code` cancelled: on request."""

    kind: ExportKind
    repo_id: str
    code: str
    message: Message
    hint: Message | None = None
    field: str = ""


class Undelivered(Event, frozen=True, kw_only=True):
    """What the spec asks for after training and is not done: exports, copies, pushes. Empty once all is done.

    Written when the adapter is saved, and again after each that is done. One is named as "merged_16bit" or
    "merged_16bit → ann/model-16bit".
    """

    missing: tuple[str, ...] = ()


class Answered(Event, frozen=True, kw_only=True):
    """An answer to one of the spec's test prompts, from before training or with the trained adapter.

    `adapter`: whether this run trained it. Before training the base model answers, or the adapter that training
    continues from. `step`: of the checkpoint, during training; None before and after training.
    """

    prompt: str
    answer: str
    adapter: bool
    tokens: int
    seconds: float
    finish_reason: Literal["eos", "length", "cancelled"]
    step: int | None = None


class Failed(Event, frozen=True, kw_only=True):
    """The run failed. `field` is set when a setting is wrong: then the exit code is 2.

    `message` gives the cause in a sentence and `hint` what to try; the details are in `engine.log`.
    `changes`: settings with which it should work, if possible with the same training result.
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
        return cls(**error.event_fields(), stage=stage, changes=changes)


class EngineEnded(Event, frozen=True, kw_only=True):
    """The last event. `exit_code`: see `engine.messages.exit_codes`."""

    exit_code: int


AnyEvent = (
    EngineStarted | StageChanged | Notice | ModelLoaded | AdapterAdded | DatasetReady | TrainingStarted | Step
    | Evaluated | Completions | CheckpointSaved | Resumed | Stopped | TrainingFinished | Exported | Pushing
    | Pushed | PushFailed | Undelivered | Answered | Failed | EngineEnded
)  # fmt: skip

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """The event as one line, with its newline.

    Bytes that are not UTF-8, as in the name of a file, become question marks: no event may be lost over them.
    """
    try:
        return _encoder.encode(event) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_as_utf8(msgspec.to_builtins(event))) + b"\n"


def _as_utf8(value: Any) -> Any:
    """Plain values with every text made UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {key: _as_utf8(one) for key, one in value.items()}
        case list() | tuple():
            return [_as_utf8(one) for one in value]
    return value


def decode(line: bytes) -> AnyEvent | None:
    """The event on a line, or None if it is unknown or broken, as from a newer Loris or a bad disk."""
    try:
        event: AnyEvent = _decoder.decode(line)
        return event
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
