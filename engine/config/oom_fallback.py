"""Smaller settings for a run that ran out of memory, first those that keep the training result the same."""

from engine.config.change import Change
from engine.config.methods.kto import SMALLEST_BATCH
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError

MIN_LENGTH = 256  # tokens; below that, most answers would be cut off


class OutOfMemory(UserError):
    """The GPU's memory or the machine's ran out. `changes`: settings with which it should work."""

    changes: tuple[Change, ...] = ()


def smallest_batch(spec: RunSpec) -> int:
    """The smallest batch on one GPU that the training method can use."""
    return SMALLEST_BATCH if spec.training.method == "kto" and spec.kto.loss_type == "kto" else 1


def smaller_settings(spec: RunSpec, gpu: bool, loading: bool = False, host: bool = False) -> tuple[Change, ...]:
    """Half the batch and twice the accumulation; then half the length; then 4-bit. Empty: nothing left to try.

    `loading`: the weights alone did not fit, so a smaller batch does not help. `host`: the machine's memory ran out
    while preparing data, where each process uses its share.
    """
    training, length = spec.training, spec.model.max_seq_length
    if host and training.dataset_num_proc > 1:
        return (Change(field="training.dataset_num_proc", value=1),)
    batch, least = training.per_device_train_batch_size, smallest_batch(spec)
    total = batch * training.gradient_accumulation_steps
    halves = [size for size in range(least, batch // 2 + 1) if total % size == 0]
    if halves and not loading:
        half = max(halves)
        return (
            Change(field="training.per_device_train_batch_size", value=half),
            Change(field="training.gradient_accumulation_steps", value=total // half),
        )
    if length > MIN_LENGTH and not loading:
        return (Change(field="model.max_seq_length", value=max(MIN_LENGTH, length // 2)),)
    if gpu and not spec.model.load_in_4bit:
        return (Change(field="model.load_in_4bit", value=True),)
    return ()
