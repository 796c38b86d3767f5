"""What can go wrong with a run, and how each cause is put to the user. Imports nothing heavy."""

from __future__ import annotations

import errno

from engine.config.change import Change
from engine.hub.errors import causes, hub_problem
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.runs.manifest import Checkpoint


class RunFailed(Exception):
    """The run cannot go on. With a `field` the input is to blame, and the exit code is 2."""

    def __init__(self, code: str, message: Message, hint: Message | None = None, field: str = "") -> None:
        super().__init__(str(message))
        self.changes: tuple[Change, ...] = ()  # settings with which it should work
        self.code, self.message, self.hint, self.field = code, message, hint, field

    def __reduce__(self) -> tuple[type[RunFailed], tuple[str, Message, Message | None, str]]:
        """How it comes back from a process that prepares data."""
        return type(self), (self.code, self.message, self.hint, self.field)

    @property
    def exit_code(self) -> int:
        return 2 if self.field else 1

    def event(self, stage: ev.Stage) -> ev.Failed:
        """This failure as an event of `stage`."""
        return ev.Failed(
            code=self.code,
            message=self.message,
            hint=self.hint,
            field=self.field,
            stage=stage,
            changes=self.changes,
        )


def last_line(error: BaseException) -> str:
    """The type of an exception and the last line that it says, 300 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


HOST_WORDS = (
    "defaultcpuallocator", "not enough memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc",
    "can't start new thread",
)  # fmt: skip
GPU_MEMORY_WORDS = ("out of memory", "cublas_status_alloc_failed")
OUT_OF_MEMORY_CODES = ("out_of_memory", "out_of_host_memory")


def _explain_memory(error: BaseException) -> RunFailed | None:
    """The device's memory, or the machine's, ran out."""
    for cause in causes(error):
        text = str(cause).lower()
        no_memory = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        if no_memory or any(word in text for word in HOST_WORDS):
            return RunFailed(
                "out_of_host_memory",
                say("The machine's memory ran out (not the GPU's)."),
                say(
                    "End what else takes memory, lower dataset_num_proc, the batch size or the context length, "
                    "or choose a smaller model."
                ),
            )
        if isinstance(cause, RuntimeError) and any(word in text for word in GPU_MEMORY_WORDS):
            return RunFailed(
                "out_of_memory",
                say("The memory ran out."),
                say(
                    "Lower the batch size or the context length, load the model in 4-bit, or choose a smaller "
                    "model."
                ),
            )
    return None


FULL_WORDS = (
    "No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing", "File too large",
)  # fmt: skip


def _is_disk_full(error: BaseException) -> bool:
    """Whether a write found no room; safetensors and torch say so in words of their own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return any(word in str(error) for word in FULL_WORDS)


def disk_full(path: object) -> Message:
    return say("The disk is full: {path}.", path=str(path)) if path else say("The disk is full.")


def read_only(path: object) -> RunFailed:
    """The disk takes no writing at all: mounted read-only, as after an error of its own."""
    return RunFailed(
        "not_writable",
        say("The disk is read-only: {path}.", path=str(path)),
        say("Choose a folder that you may write to."),
    )


def diverged(step: int, kept: list[Checkpoint]) -> RunFailed:
    """Training has gone wrong for good. `kept`: the checkpoints of before, the newest first."""
    hint = (
        say(
            "Lower the learning rate and train again. The checkpoint of step {step} is sound.",
            step=kept[0].step,
        )
        if kept
        else say("Lower the learning rate and train again.")
    )
    return RunFailed("diverged", say("At step {step} the loss is no longer of use.", step=step), hint)


GPU_WORDS: tuple[tuple[str, str, Message, Message], ...] = (
    (
        "driver_mismatch",
        "driver version is insufficient|driver on your system is too old|no kernel image is available|"
        "forward compatibility was attempted|driver/library version mismatch",
        say("The GPU's driver and PyTorch do not fit together."),
        say("Install a PyTorch made for the CUDA version that nvidia-smi shows, or update the driver."),
    ),
    (
        "cuda_missing",
        "no cuda gpus are available|torch not compiled with cuda|cannot find any torch accelerator|"
        "no nvidia driver on your system|cuda unknown error|cuda-capable device",
        say("PyTorch finds no GPU on this machine."),
        say("Look at nvidia-smi; start a container with --gpus all. On a CPU, switch 4-bit off."),
    ),
)  # fmt: skip


def _explain_gpu(error: BaseException) -> RunFailed | None:
    """A card that is not there, or that the installed PyTorch cannot drive."""
    for cause in causes(error):
        text = str(cause).lower()
        for code, words, message, hint in GPU_WORDS:
            if any(word in text for word in words.split("|")):
                return RunFailed(code, message, hint)
    return None


def explain(error: BaseException, field: str = "") -> RunFailed:
    """Put any exception into words. `field` is the setting that names what was being fetched, if one does."""
    if isinstance(error, RunFailed):
        return error
    if memory := _explain_memory(error):
        return memory
    for cause in causes(error):
        if _is_disk_full(cause):
            return RunFailed(
                "disk_full",
                disk_full(getattr(cause, "filename", None)),
                say("Free some space, keep fewer checkpoints, or choose another output folder."),
            )
        if isinstance(cause, PermissionError) and cause.filename:
            return RunFailed(
                "not_writable",
                say("No permission: {path}.", path=str(cause.filename)),
                say("Choose a folder that you may write to."),
            )
        if isinstance(cause, OSError) and cause.errno == errno.EROFS:
            return read_only(cause.filename or "")
    return (
        _explain_hub(error, field)
        or _explain_gpu(error)
        or RunFailed(
            "crashed",
            say("The engine failed: {reason}", reason=last_line(error)),
            say("The end of engine.log has the details."),
        )
    )


def _explain_hub(error: BaseException, field: str) -> RunFailed | None:
    """The failures of the Hugging Face Hub."""
    problem = hub_problem(error)
    if problem is None:
        return None
    if problem.code == "hub_no_revision":
        field = "dataset.revision" if field.startswith("dataset.") else "model.revision"
    return RunFailed(problem.code, problem.message, problem.hint, field)
