"""Rules across the fields of the section `training`: what cannot work together, and why."""

from collections.abc import Iterator

from engine.config.fields import FieldError
from engine.config.optimizers import BY_EVALUATION, FULL_MATRICES, OTHER_HARDWARE
from engine.config.run_spec import RunSpec, TrainingSpec
from engine.config.sources import eval_source
from engine.messages.message import Message, say


def check_training(spec: RunSpec) -> Iterator[FieldError]:
    """An error for each rule that is broken."""
    training = spec.training
    if message := _length_error(training):
        yield FieldError("training.max_steps", message)
    yield from _warmup_errors(training)
    if message := _optimizer_error(training.optim, spec.model.full_finetuning):
        yield FieldError("training.optim", message)
    if not (spec.dataset.test_size or eval_source(spec.dataset)):
        yield from _without_evaluation(training)
    elif training.load_best_model_at_end:
        yield from _best_errors(training)


def _length_error(training: TrainingSpec) -> Message | None:
    if training.max_steps == 0:
        return say("Give at least 1 step, or -1 to count in epochs.")
    return None


def _warmup_errors(training: TrainingSpec) -> Iterator[FieldError]:
    if 0 < training.max_steps <= training.warmup_steps:
        message = say("The warm-up must be shorter than the {steps} steps of training.", steps=training.max_steps)
        yield FieldError("training.warmup_steps", message)
    if training.warmup_ratio and training.warmup_steps:
        message = say("The warm-up is given in steps and as a share: set one of them to 0.")
        yield FieldError("training.warmup_ratio", message)


def _optimizer_error(name: str, full_finetuning: bool) -> Message | None:
    if name.startswith(FULL_MATRICES) and not full_finetuning:
        return say("{optim} works on full matrices, and LoRA trains small ones: choose adamw_8bit.", optim=name)
    if name in OTHER_HARDWARE:
        return say("{optim} needs hardware that Unsloth does not train on: choose adamw_8bit.", optim=name)
    return None


def _without_evaluation(training: TrainingSpec) -> Iterator[FieldError]:
    """What needs the loss on held-out rows, in a run that holds none out."""
    wanting = {
        "lr_scheduler_type": training.lr_scheduler_type in BY_EVALUATION,
        "load_best_model_at_end": training.load_best_model_at_end,
        "early_stopping_patience": training.early_stopping_patience > 0,
    }
    for name, wants in wanting.items():
        if wants:
            message = say("This follows the loss on held-out rows: set test_size, such as 0.1, or eval_path.")
            yield FieldError(f"training.{name}", message)


def _best_errors(training: TrainingSpec) -> Iterator[FieldError]:
    """Why no checkpoint would have a loss on the held-out rows, or the best one would be deleted."""
    field = "training.load_best_model_at_end"
    if not training.save_steps:
        yield FieldError(field, say("No checkpoints are saved to choose from: set save_steps."))
    elif training.save_strategy != training.eval_strategy:
        yield FieldError(field, say("Save checkpoints and evaluate alike: set eval_strategy as save_strategy."))
    elif training.save_strategy == "steps" and training.save_steps % training.eval_steps:
        message = say(
            "A checkpoint every {save} steps is measured only if {save} is a multiple of eval_steps: set it to "
            "{save}, or save every {more} steps.",
            save=training.save_steps,
            more=training.eval_steps * max(1, round(training.save_steps / training.eval_steps)),
        )  # fmt: skip
        yield FieldError("training.eval_steps", message)
    if training.save_total_limit < 2:
        yield FieldError("training.save_total_limit", say("Keep at least 2 checkpoints: the best and the newest."))
