"""Fine-tuning from top to bottom, as the Unsloth notebooks do it: data, model, trainer, check, train.

What differs between training methods is in `engine.training.method`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import PrinterCallback

from engine.config.check import unused_settings
from engine.config.lora import ALL_LINEAR
from engine.config.methods import METHODS, is_metric
from engine.config.optimizers import NEEDS_GPU, ON_CPU, PROJECTED, SCHEDULE_ARGUMENTS
from engine.config.run_spec import RunSpec
from engine.config.sources import eval_source
from engine.messages.message import say
from engine.model import hardware, loading
from engine.prompting.prompt_format import PromptFormat
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.folder import RunFolder
from engine.runtime.control import Control
from engine.training.callback import EventCallback
from engine.training.first_loss import FirstLoss
from engine.training.method import Prepared, TrainingMethod
from engine.training.prepare import prepare
from engine.training.trainer import check_finite, diverged, drop_reference


def train(
    loaded: loading.Loaded,
    spec: RunSpec,
    folder: RunFolder,
    control: Control,
    before_training: Callable[[Prepared], None],
    checkpoint: manifest.Checkpoint | None = None,
    on_checkpoint: Callable[[int], None] = lambda step: None,
) -> PromptFormat:
    """Fine-tune a loaded model by the spec; afterwards `loaded.model` is trained, or has a trained adapter.

    `before_training`: called with the data while nothing is trained yet; not on a resume.
    `checkpoint`: resume from it. `on_checkpoint`: called with the step of each. Returns the prompt format. Raises
    `UserError` for errors in the user's input.
    """
    record = control.record
    record.enter("preparing")
    data = prepare(spec, loaded.tokenizer, loading.stop_ids(loaded), record)
    method = data.method
    loaded.tokenizer = method.tokenizer
    if loaded.has_adapter:
        continues = say("The model comes with an adapter: training continues from it, with its own rank.")
        record.emit(ev.Notice(code=ev.CONTINUES_ADAPTER, message=continues))
    if not checkpoint:
        before_training(data)

    if unused := unused_settings(spec):
        message = say(
            "All weights are trained, so these settings have no effect: {names}.", names=", ".join(unused)
        )
        record.emit(ev.Notice(code="lora_unused", message=message))
    loading.prepare_for_training(loaded, spec.lora, spec.model.max_seq_length, record)
    config = training_arguments(method, loaded, folder, len(data.train), record)
    trainer = method.trainer(loaded, data, config)
    record.emit(method.check(trainer, data, loading.stop_ids(loaded), record))

    start_bytes = hardware.reserved_bytes()
    effective = spec.training.per_device_train_batch_size * spec.training.gradient_accumulation_steps
    started = ev.TrainingStarted(
        total_steps=0,
        num_train_epochs=0.0,
        effective_batch_size=effective * config.world_size,
        optim=str(getattr(config.optim, "value", config.optim)),
        dtype=loaded.dtype,
        reserved_bytes=start_bytes,
    )
    trainer.remove_callback(PrinterCallback)  # events report every step; the log is for errors
    # With several cards, each sees only its own rows; and a resumed run is not at its first step.
    known = METHODS[spec.training.method]
    comparable = known.loss_is_likelihood and config.world_size == 1 and not checkpoint
    trainer.first_loss = FirstLoss(trainer.model, unknown=known.kinds == ("text",)) if comparable else None
    trainer.run_control, progress = (
        control,
        EventCallback(
            control,
            started,
            on_checkpoint,
            partial(is_metric, spec.training.method),
            trainer.first_loss,
            known.lights,
        ),
    )
    progress.stop_early(spec.training.early_stopping_patience, spec.training.early_stopping_threshold)
    trainer.add_callback(progress)
    record.enter("training")
    if checkpoint:
        record.emit(ev.Resumed(step=checkpoint.step, path=str(checkpoint.path)))
    seconds, loss = 0.0, None
    if checkpoint and 0 < spec.training.max_steps <= checkpoint.step:  # only saving the result is left
        trainer._load_from_checkpoint(str(checkpoint.path))
        trainer.state.global_step = trainer.state.max_steps = checkpoint.step
    else:
        result = trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
        seconds, loss = result.metrics["train_runtime"], result.training_loss
    drop_reference(loaded.model)
    if progress.diverged:
        raise diverged(trainer.state.global_step, manifest.list_checkpoints(folder.checkpoints))

    if control.terminate.is_set():
        return method.prompt_format  # terminated: the checkpoint is there to resume from
    if progress.stopped_early:
        record.emit(early_notice(trainer.state.global_step, spec.training.early_stopping_patience))
    if spec.training.load_best_model_at_end and (best := trainer.load_best()):
        record.emit(best_notice(best, loaded.whole))
    check_finite(loaded.model, trainer.state.global_step, folder.checkpoints)
    completed = trainer.state.global_step >= trainer.state.max_steps or progress.stopped_early
    outcome: ev.Outcome = "completed" if completed else "stopped"
    record.emit(
        ev.TrainingFinished(
            outcome=outcome,
            steps=trainer.state.global_step,
            train_loss=loss,
            seconds=seconds,
            device=hardware.device(),
            start_reserved_bytes=start_bytes,
            peak_reserved_bytes=hardware.peak_reserved_bytes(),
        )
    )
    return method.prompt_format


def early_notice(step: int, patience: int) -> ev.Notice:
    message = say(
        "Training ended early at step {step}: the loss on the held-out rows did not come down in {count} "
        "evaluations.",
        step=step, count=patience,
    )  # fmt: skip
    return ev.Notice(code="stopped_early", message=message)


def best_notice(best: manifest.Checkpoint, whole: bool) -> ev.Notice:
    values = {"step": best.step, "loss": round(best.eval_loss or 0.0, 4)}
    message = say(
        "The adapter is that of step {step}, whose loss on the held-out rows was the lowest: {loss}.", **values
    )
    if whole:
        message = say(
            "The model is that of step {step}, whose loss on the held-out rows was the lowest: {loss}.", **values
        )
    return ev.Notice(code="best_taken", message=message)


def training_arguments(
    method: TrainingMethod, loaded: loading.Loaded, folder: RunFolder, rows: int, record: Any
) -> Any:
    """The trainer's arguments; what the hardware does not support is replaced, with a notice."""
    t, optim = method.spec.training, method.spec.training.optim
    evaluates = bool(method.spec.dataset.test_size or eval_source(method.spec.dataset))
    if hardware.device().kind == "cpu" and optim in NEEDS_GPU:
        optim = ON_CPU
        replaced = say("{optim} needs a GPU: using {instead}.", optim=t.optim, instead=optim)
        record.emit(ev.Notice(code="optim_replaced", message=replaced))
    return method.config_class(
        per_device_train_batch_size=t.per_device_train_batch_size,
        per_device_eval_batch_size=t.per_device_eval_batch_size or t.per_device_train_batch_size,
        eval_accumulation_steps=t.eval_accumulation_steps or None,
        gradient_accumulation_steps=t.gradient_accumulation_steps,
        max_steps=t.max_steps,
        num_train_epochs=t.num_train_epochs,
        learning_rate=t.learning_rate,
        warmup_steps=t.warmup_ratio or t.warmup_steps,  # below 1, it is a share of all steps
        lr_scheduler_type=t.lr_scheduler_type,
        lr_scheduler_kwargs=SCHEDULE_ARGUMENTS.get(t.lr_scheduler_type),
        optim=optim,
        optim_target_modules=ALL_LINEAR if optim.startswith(PROJECTED) else None,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        neftune_noise_alpha=t.neftune_noise_alpha or None,
        train_sampling_strategy=t.train_sampling_strategy,
        seed=t.seed,
        fp16=loaded.dtype == "float16",
        bf16=loaded.dtype == "bfloat16",
        logging_steps=t.logging_steps,
        logging_nan_inf_filter=False,  # it would log a loss that is not finite as 0
        save_strategy=t.save_strategy if t.save_steps else "no",
        save_steps=t.save_steps or 500,
        save_total_limit=t.save_total_limit,
        eval_strategy=t.eval_strategy if evaluates else "no",
        eval_steps=t.eval_steps if evaluates else None,
        output_dir=str(folder.checkpoints),
        report_to=t.report_to,
        disable_tqdm=True,
        **{"include_num_input_tokens_seen": "non_padding", **method.arguments(rows, record)},
    )
