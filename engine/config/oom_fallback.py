"""The next smaller setting for a run whose memory ran out: first what changes nothing in the result."""

from __future__ import annotations

from engine.config.change import Change
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError

SHORTEST = 256  # tokens; below that, most answers would be cut off


class OutOfMemory(UserError):
    """The GPU's memory or the machine's ran out. `changes`: settings with which it should work."""

    changes: tuple[Change, ...] = ()


def next_smaller(spec: RunSpec, gpu: bool, loading: bool = False, host: bool = False) -> tuple[Change, ...]:
    """Half the batch and twice the accumulation; then half the length; then 4-bit. Empty: nothing is left.

    `loading`: the weights alone were too much, so that no batch is small enough. `host`: it was the machine's
    memory, while data was prepared: each process that does so takes a share.
    """
    training, length = spec.training, spec.model.max_seq_length
    if host and training.dataset_num_proc > 1:
        return (Change(field="training.dataset_num_proc", value=1),)
    batch = training.per_device_train_batch_size
    if batch > 1 and not loading:
        total = batch * training.gradient_accumulation_steps
        half = max(size for size in range(1, batch // 2 + 1) if total % size == 0)
        return (
            Change(field="training.per_device_train_batch_size", value=half),
            Change(field="training.gradient_accumulation_steps", value=total // half),
        )
    if length > SHORTEST and not loading:
        return (Change(field="model.max_seq_length", value=max(SHORTEST, length // 2)),)
    if gpu and not spec.model.load_in_4bit:
        return (Change(field="model.load_in_4bit", value=True),)
    return ()
