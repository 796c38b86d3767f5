"""Explains errors of this machine: its memory, its disk, its GPU. Imports nothing heavy."""

import errno

from engine.config.oom_fallback import OutOfMemory
from engine.messages.errors import UserError, causes, last_line
from engine.messages.message import Message, say

HOST_MEMORY_WORDS = (
    "defaultcpuallocator", "not enough memory", "can't allocate memory", "cannot allocate memory", "std::bad_alloc",
    "can't start new thread",
)  # fmt: skip
GPU_MEMORY_WORDS = ("out of memory", "cublas_status_alloc_failed")


def explain_memory(error: BaseException) -> OutOfMemory | None:
    """The GPU's memory, or the machine's, ran out."""
    for cause in causes(error):
        text = str(cause).lower()
        no_memory = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        if no_memory or any(word in text for word in HOST_MEMORY_WORDS):
            return OutOfMemory(
                "out_of_host_memory",
                say("The machine's memory ran out (not the GPU's)."),
                say(
                    "Stop other programs that use memory, lower dataset_num_proc, the batch size or the context "
                    "length, or choose a smaller model."
                ),
            )
        if isinstance(cause, RuntimeError) and any(word in text for word in GPU_MEMORY_WORDS):
            return OutOfMemory(
                "out_of_memory",
                say("Out of memory."),
                say(
                    "Lower the batch size or the context length, load the model in 4-bit, or choose a smaller "
                    "model."
                ),
            )
    return None


DISK_FULL_WORDS = (
    "No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed writing", "File too large",
)  # fmt: skip


def _is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for lack of space; safetensors and torch raise errors of their own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return any(word in str(error) for word in DISK_FULL_WORDS)


def disk_full(path: object) -> Message:
    return say("The disk is full: {path}.", path=str(path)) if path else say("The disk is full.")


def read_only(path: object) -> UserError:
    """The disk is mounted read-only, as the kernel does after a disk error."""
    return UserError(
        "not_writable",
        say("The disk is read-only: {path}.", path=str(path)),
        say("Choose a folder that you can write to."),
    )


def explain_disk(error: BaseException) -> UserError | None:
    """A disk that is full, or not writable."""
    for cause in causes(error):
        if _is_disk_full(cause):
            return UserError(
                "disk_full",
                disk_full(getattr(cause, "filename", None)),
                say("Free some space, keep fewer checkpoints, or choose another output folder."),
            )
        if isinstance(cause, PermissionError) and cause.filename:
            return UserError(
                "not_writable",
                say("No permission: {path}.", path=str(cause.filename)),
                say("Choose a folder that you can write to."),
            )
        if isinstance(cause, OSError) and cause.errno == errno.EROFS:
            return read_only(cause.filename or "")
    return None


GPU_WORDS: tuple[tuple[str, str, Message, Message], ...] = (
    (
        "driver_mismatch",
        "driver version is insufficient|driver on your system is too old|no kernel image is available|"
        "forward compatibility was attempted|driver/library version mismatch",
        say("The GPU's driver does not match the installed PyTorch."),
        say("Install a PyTorch made for the CUDA version that nvidia-smi shows, or update the driver."),
    ),
    (
        "cuda_missing",
        "no cuda gpus are available|torch not compiled with cuda|cannot find any torch accelerator|"
        "no nvidia driver on your system|cuda unknown error|cuda-capable device",
        say("PyTorch finds no GPU on this machine."),
        say("Check nvidia-smi; start a container with --gpus all. On a CPU, turn 4-bit off."),
    ),
)  # fmt: skip


def explain_gpu(error: BaseException) -> UserError | None:
    """No GPU, or one that the installed PyTorch cannot use."""
    for cause in causes(error):
        text = str(cause).lower()
        for code, words, message, hint in GPU_WORDS:
            if any(word in text for word in words.split("|")):
                return UserError(code, message, hint)
    return None


def explain_crash(error: BaseException) -> UserError:
    """Any other error."""
    return UserError(
        "crashed",
        say("The engine failed: {reason}", reason=last_line(error)),
        say("The end of engine.log has the details."),
    )
