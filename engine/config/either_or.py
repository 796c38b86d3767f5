"""Pairs of settings of which only one counts, as steps and epochs: whoever gives one means that one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.config.fields import FieldError, field_info, parse_field
from engine.config.run_spec import TrainingSpec
from engine.messages.message import say

STEPS, EPOCHS = "training.max_steps", "training.num_train_epochs"
WARMUP, WARMUP_RATIO = "training.warmup_steps", "training.warmup_ratio"
BY_EPOCHS = -1  # as max_steps: train for num_train_epochs


class Either(NamedTuple):
    """One setting of a pair. `off`: its value while the other one counts."""

    path: str
    off: Any


PAIRS = (
    (Either(STEPS, BY_EPOCHS), Either(EPOCHS, 1.0)),
    (Either(WARMUP, 0), Either(WARMUP_RATIO, 0.0)),
    (Either("model.load_in_4bit", False), Either("model.load_in_8bit", False)),
)
# (a setting, the other of its pair), both ways round.
_OTHERS = tuple((one, other) for pair in PAIRS for one, other in (pair, pair[::-1]))
PAIRED = tuple(one.path for one, _other in _OTHERS)

# An older Loris wrote every setting, so both steps and epochs; steps counted. No file by hand has all of these.
_ALWAYS_WRITTEN = (
    "optim",
    "weight_decay",
    "seed",
    "logging_steps",
    "save_total_limit",
    "dataset_num_proc",
    "report_to",
)
_SINCE_THEN = "max_grad_norm"


def counts(path: str, value: Any) -> bool:
    """Whether a setting of a pair, with its value as typed, takes the other one out of force."""
    return bool(_parsed(path, value) > 0)


def _parsed(path: str, value: Any) -> Any:
    """The value of a field as typed; 0 if it is not valid."""
    parsed, error = parse_field(field_info(path), value)
    return 0 if error else parsed


def replaced_by(path: str, value: Any) -> str:
    """The setting that no longer counts once `path` has this value, as typed; empty if there is none."""
    return next((other.path for one, other in _OTHERS if one.path == path and counts(path, value)), "")


def off_value(path: str, given: Mapping[str, Any]) -> Any:
    """The value of a setting that is not given, if the other of its pair counts; else None. `given`: by path."""
    for one, other in _OTHERS:
        if one.path == path and counts(other.path, given.get(other.path)):
            return one.off
    return None


def default_warmup(steps: int) -> int:
    """The default warm-up, shorter for a training of a few steps."""
    usual = TrainingSpec().warmup_steps
    return steps // 2 if 0 < steps <= usual else usual


def complete(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A section as given, with what follows: epochs alone mean epochs, and few steps a short warm-up."""
    values = dict(given)
    paths = {f"{section}.{key}": value for key, value in given.items() if value is not None}
    for path in PAIRED:
        owner, _, key = path.partition(".")
        if owner == section and path not in paths and (off := off_value(path, paths)) is not None:
            values[key] = off
    if section == "lora" and values.get("loftq_config") == {}:  # as in many notebooks: none
        values["loftq_config"] = None
    if section == "training":
        if "max_steps" in values and values["max_steps"] is None:
            values["max_steps"] = BY_EPOCHS
        if values.get("warmup_steps") is None:
            values["warmup_steps"] = default_warmup(_parsed(STEPS, values.get("max_steps")))
    return values


def both_given(training: Mapping[str, Any]) -> list[FieldError]:
    """The error for steps and epochs in one file: one of them would be ignored."""
    steps, epochs = training.get("max_steps"), training.get("num_train_epochs")
    written_before = all(key in training for key in _ALWAYS_WRITTEN) and _SINCE_THEN not in training
    if not counts(STEPS, steps) or epochs is None or written_before:
        return []
    message = say(
        "Steps and epochs are both given. Remove max_steps to train for {epochs} epochs, or num_train_epochs to "
        "train for {steps} steps.",
        epochs=str(epochs), steps=str(steps),
    )  # fmt: skip
    return [FieldError(EPOCHS, message)]


def drop_ignored(training: dict[str, Any]) -> None:
    """Remove the epochs from the section `training` where steps count."""
    if counts(STEPS, training["max_steps"]):
        training.pop("num_train_epochs", None)
