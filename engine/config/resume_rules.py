"""Which settings may change when a run is resumed from a checkpoint, and why the others may not."""

import msgspec

from engine.config.either_or import BY_EPOCHS
from engine.config.fields import FieldError
from engine.config.methods import FULL_FINETUNING, METHODS
from engine.config.run_spec import SECTIONS, RunSpec
from engine.messages.message import Message, say

CHANGEABLE = frozenset(
    (
        "name", "description",
        "training.max_steps", "training.num_train_epochs", "training.logging_steps", "training.save_steps",
        "training.save_total_limit", "training.eval_steps", "training.report_to", "training.output_dir",
        "training.dataset_num_proc", "training.retry_out_of_memory",
        "training.save_strategy", "training.eval_strategy", "training.per_device_eval_batch_size",
        "training.eval_accumulation_steps", "training.load_best_model_at_end", "training.early_stopping_patience",
        "training.early_stopping_threshold",
        "model.load_in_4bit", "model.max_seq_length", "model.use_cpu", "lora.use_gradient_checkpointing",
        "dataset.max_cut_share", "dpo.precompute_ref_log_probs",
    )
)  # fmt: skip
CHANGEABLE_SECTIONS = frozenset(("generation", "export"))
MAKE_ROWS = ("cpt.long_documents", "cpt.chunk_overlap")
BATCH_FIELDS = ("training.per_device_train_batch_size", "training.gradient_accumulation_steps")


def effective_batch(spec: RunSpec) -> int:
    """Examples per weight update, on one GPU."""
    return spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps


def changed_fields(old: RunSpec, new: RunSpec) -> list[str]:
    """The fields in which two specs differ, as section.field."""
    found = []
    for name in RunSpec.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if name not in SECTIONS:
            found += [name] if before != after else []
            continue
        was, now = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
        found += [f"{name}.{key}" for key in now if was[key] != now[key]]
    return found


def changeable_fields(sections: tuple[str, ...]) -> list[str]:
    """The fields of these sections that may change, in order; those of the batch, if its effective size stays."""
    return [
        path
        for section in sections
        for name in SECTIONS[section].__struct_fields__
        if (path := f"{section}.{name}") in CHANGEABLE or path in BATCH_FIELDS
    ]


def resume_errors(old: RunSpec, new: RunSpec, step: int, epochs: float = 0.0) -> list[FieldError]:
    """Why a run at `step` cannot be resumed with these settings: an error for each field that may not change.

    `epochs`: how often the run has gone through its rows at that step; 0 if not known.
    """
    errors = []
    for field in changed_fields(old, new):
        if reason := _change_error(field, old, new):
            errors.append(FieldError(field, reason))
    if 0 < new.training.max_steps <= step and old.training.max_steps != new.training.max_steps:
        already = say("The run is already at step {step}: give more steps than that.", step=step)
        errors.append(FieldError("training.max_steps", already))
    if (
        new.training.max_steps == BY_EPOCHS
        and _length(new) != _length(old)
        and new.training.num_train_epochs <= epochs
    ):
        already = say("The run is already at epoch {epoch}: give more epochs than that.", epoch=f"{epochs:.3g}")
        errors.append(FieldError("training.num_train_epochs", already))
    return errors


def _length(spec: RunSpec) -> tuple[int, float]:
    return spec.training.max_steps, spec.training.num_train_epochs


def _change_error(field: str, old: RunSpec, new: RunSpec) -> Message | None:
    section = field.partition(".")[0]
    if field == "model.max_seq_length" and rows_follow_length(new):
        return why_fixed("dataset")
    if field in CHANGEABLE or section in CHANGEABLE_SECTIONS:
        return None
    if section == "lora" and old.model.full_finetuning and new.model.full_finetuning:
        return None  # not used
    if field == "dataset.missing_parts" and "text" not in (old.dataset.missing_parts, new.dataset.missing_parts):
        return None  # the texts stay as they were
    if field in BATCH_FIELDS:
        if effective_batch(old) == effective_batch(new):
            return None
        return say(
            "Batch size times accumulation must stay {size}, or rows would be left out or learned twice.",
            size=effective_batch(old),
        )
    return why_fixed(field)


def rows_follow_length(spec: RunSpec) -> bool:
    """Whether another context length would make other rows: texts are divided by it."""
    return spec.training.method == "cpt" and spec.cpt.long_documents == "chunk"


def why_fixed(field: str) -> Message:
    """Why a field may not change. Only for fields that may not."""
    if field == FULL_FINETUNING:
        return say("A checkpoint is of an adapter or of a whole model: start a new run to change this.")
    section = "dataset" if field in MAKE_ROWS else field.partition(".")[0]
    if section in METHODS:
        return say("It decides what is learned: start a new run to change it.")
    match section:
        case "model":
            return say("What was trained belongs to the model it began with: start a new run for another.")
        case "lora":
            return say("The adapter's shape is fixed: start a new run for another.")
        case "dataset":
            return say("The order of the rows would change: start a new run for other data.")
    return say("The optimizer state is resumed as it was: start a new run to change this.")
