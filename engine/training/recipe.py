"""Fine-tuning, top to bottom, as the Unsloth notebooks do it: data, adapter, trainer, check, train.

What differs between the training methods, the spec's method knows: see `engine.training.method`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PrinterCallback

from engine.config.methods import METHODS
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
from engine.training.method import TrainingMethod
from engine.training.prepare import prepare
from engine.training.trainer import diverged, finite


def train(
    loaded: loading.Loaded,
    spec: RunSpec,
    folder: RunFolder,
    control: Control,
    ask: Callable[[PromptFormat], None],
    checkpoint: manifest.Checkpoint | None = None,
    at_checkpoint: Callable[[int], None] = lambda step: None,
) -> PromptFormat:
    """Fine-tune a loaded model as the spec says; the adapter is then on `loaded.model`.

    `ask` tries the untouched model, once it is known how a question is written. `checkpoint`: go on from
    there. `at_checkpoint` gets the step of each. Returns the style. Raises `UserError` when the input is to blame.
    """
    record = control.record
    record.enter("preparing")
    data = prepare(spec, loaded.tokenizer, loading.stop_ids(loaded), record)
    method = data.method
    loaded.tokenizer = method.tokenizer
    if not checkpoint:
        ask(method.prompt_format)

    loading.add_adapter(loaded, spec.lora, spec.model.max_seq_length, record)
    config = arguments(method, loaded, folder, len(data.train), record)
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
    trainer.remove_callback(PrinterCallback)  # the events tell every step; the log is for what goes wrong
    trainer.loris, progress = (
        control,
        EventCallback(
            control, started, at_checkpoint, [metric.key for metric in METHODS[spec.training.method].metrics]
        ),
    )
    trainer.add_callback(progress)
    record.enter("training")
    if checkpoint:
        record.emit(ev.Resumed(step=checkpoint.step, path=str(checkpoint.path)))
    seconds, loss = 0.0, None
    if checkpoint and 0 < spec.training.max_steps <= checkpoint.step:  # all but the saving was done
        trainer._load_from_checkpoint(str(checkpoint.path))
        trainer.state.global_step = trainer.state.max_steps = checkpoint.step
    else:
        result = trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
        seconds, loss = result.metrics["train_runtime"], result.training_loss
    if progress.diverged:
        raise diverged(trainer.state.global_step, manifest.list_checkpoints(folder.checkpoints))

    if control.terminate.is_set():
        return method.prompt_format  # not finished, but cut short: the checkpoint is there to go on from
    finite(loaded.model, trainer.state.global_step, folder.checkpoints)
    outcome: ev.Outcome = "completed" if trainer.state.global_step >= trainer.state.max_steps else "stopped"
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


def arguments(method: TrainingMethod, loaded: loading.Loaded, folder: RunFolder, rows: int, record: Any) -> Any:
    """The trainer's settings; what the hardware cannot do is replaced, with a notice."""
    t, optim = method.spec.training, method.spec.training.optim
    evaluates = bool(method.spec.dataset.test_size or eval_source(method.spec.dataset))
    if hardware.device().kind == "cpu" and optim in ("adamw_8bit", "paged_adamw_8bit"):
        optim = "adamw_torch_fused"
        replaced = say("{optim} needs a GPU: using {instead}.", optim=t.optim, instead=optim)
        record.emit(ev.Notice(code="optim_replaced", message=replaced))
    return method.config_class(
        per_device_train_batch_size=t.per_device_train_batch_size,
        per_device_eval_batch_size=t.per_device_train_batch_size,
        gradient_accumulation_steps=t.gradient_accumulation_steps,
        max_steps=t.max_steps,
        num_train_epochs=t.num_train_epochs,
        learning_rate=t.learning_rate,
        warmup_steps=t.warmup_steps,
        lr_scheduler_type=t.lr_scheduler_type,
        optim=optim,
        weight_decay=t.weight_decay,
        seed=t.seed,
        fp16=loaded.dtype == "float16",
        bf16=loaded.dtype == "bfloat16",
        logging_steps=t.logging_steps,
        logging_nan_inf_filter=False,  # it would show a loss of 0 for one that is no number
        save_strategy="steps" if t.save_steps else "no",
        save_steps=t.save_steps or 500,
        save_total_limit=t.save_total_limit,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=t.eval_steps if evaluates else None,
        output_dir=str(folder.checkpoints),
        report_to=t.report_to,
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
        **method.arguments(rows, record),
    )
