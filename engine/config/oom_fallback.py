"""Smaller settings for a run that ran out of memory, first those that keep the training result the same."""

from engine.config.change import Change
from engine.config.methods.kto import SMALLEST_BATCH
from engine.config.resume_rules import rows_follow_length
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say

WHOLE_MODEL_HINT = say(
    "Training all weights takes 4 to 8 times the memory of an adapter: turn full_finetuning off, lower the batch "
    "size or the context length, or choose a smaller model."
)
MIN_LENGTH = 256  # tokens; below that, most answers would be cut off
MIN_ANSWER = 64  # tokens of an answer that the model writes in training


class OutOfMemory(UserError):
    """The GPU's memory or the machine's ran out. `changes`: settings with which it should work."""

    changes: tuple[Change, ...] = ()


def smallest_batch(spec: RunSpec) -> int:
    """The smallest batch on one GPU that the training method can use."""
    return SMALLEST_BATCH if spec.training.method == "kto" and spec.kto.loss_type == "kto" else 1


def smaller_settings(spec: RunSpec, gpu: bool, loading: bool = False, host: bool = False) -> tuple[Change, ...]:
    """Half the batch and twice the accumulation; then half the length; then 4-bit. Empty: nothing left to try.

    Where the model writes answers in training, these get shorter, and then fewer, before the length is halved.

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
    if training.method == "grpo" and not loading and (changes := _smaller_answers(spec)):
        return changes
    if length > max(MIN_LENGTH, _longest_answer(spec) + 1) and not loading and not rows_follow_length(spec):
        return (
            Change(field="model.max_seq_length", value=max(MIN_LENGTH, _longest_answer(spec) + 1, length // 2)),
        )
    if gpu and not spec.model.load_in_4bit and not spec.model.full_finetuning:
        return (Change(field="model.load_in_4bit", value=True),)
    return ()


def _longest_answer(spec: RunSpec) -> int:
    """The tokens that the context length must leave room for."""
    return spec.grpo.max_completion_length if spec.training.method == "grpo" else 0


def _smaller_answers(spec: RunSpec) -> tuple[Change, ...]:
    """Answers of half the length; then half as many to a prompt, for as many prompts in a step."""
    longest, count = spec.grpo.max_completion_length, spec.grpo.num_generations
    accumulation = spec.training.gradient_accumulation_steps
    if longest > MIN_ANSWER:
        return (Change(field="grpo.max_completion_length", value=max(MIN_ANSWER, longest // 2)),)
    if count >= 4 and count % 2 == 0 and accumulation % 2 == 0:
        return (
            Change(field="grpo.num_generations", value=count // 2),
            Change(field="training.gradient_accumulation_steps", value=accumulation // 2),
        )
    return ()
