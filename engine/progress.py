"""Tells what training does while it does it, and hears what it is asked meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine import hardware
from engine.control import Control
from engine.spec import events as ev
from engine.spec.text import N_, say

HOPELESS_LOSS = 20.0  # guessing among 260,000 tokens costs 12.5
HOPELESS_LOGS = 5


class Progress(TrainerCallback):
    """Turns the trainer's callbacks into events, and the control's flags into what the trainer does next."""

    def __init__(self, control: Control, started: ev.TrainingStarted, at_checkpoint: Callable[[int], None]) -> None:
        """`at_checkpoint`: called with the step of a checkpoint that is whole; the training waits for it."""
        self._control, self._started, self._at_checkpoint = control, started, at_checkpoint
        self._clock, self._tokens = time.monotonic(), 0
        self._diverged = False
        self._first: float | None = None
        self._high = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report how much there is to do."""
        self._control.record.emit(
            msgspec.structs.replace(
                self._started, total_steps=state.max_steps, num_train_epochs=float(state.num_train_epochs)
            )
        )
        self._clock, self._tokens = time.monotonic(), int(state.num_input_tokens_seen or 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Obey stop, checkpoint and terminate once the step is whole."""
        asked = self._control
        save = asked.checkpoint.is_set() or asked.terminate.is_set()
        stop = asked.stop.is_set() or asked.ending
        asked.checkpoint.clear()
        if args.world_size > 1:
            # Only rank 0 has a socket, and all ranks must stop at the same step.
            flags = torch.tensor([save, stop], dtype=torch.int32, device=args.device)
            torch.distributed.broadcast(flags, src=0)
            save, stop = bool(flags[0]), bool(flags[1])
            if stop:
                asked.stop.set()
        if save:
            control.should_save = True
        if stop:
            control.should_training_stop = control.should_log = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report a step; the trainer logs its summary this way, too, which has no learning rate."""
        if not logs or "loss" not in logs or "learning_rate" not in logs:
            return
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen or 0)
        seconds, new = now - self._clock, tokens - self._tokens
        self._clock, self._tokens = now, tokens
        norm, loss = logs.get("grad_norm"), float(logs["loss"])
        if self._is_lost(loss):
            self._warn_diverged(state.global_step)
            # What was saved before is better than what would be saved now.
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
        self._control.record.emit(
            ev.Step(
                step=state.global_step,
                epoch=float(state.epoch or 0.0),
                loss=loss if math.isfinite(loss) else None,
                learning_rate=float(logs["learning_rate"]),
                grad_norm=float(norm) if norm is not None and math.isfinite(norm) else None,
                tokens_per_second=new / seconds if new > 0 and seconds > 0 else None,
                reserved_bytes=hardware.reserved_bytes(),
                peak_reserved_bytes=hardware.peak_reserved_bytes(),
            )
        )

    def _is_lost(self, loss: float) -> bool:
        """Whether training has gone wrong for good: no number, or far worse than guessing for several logs."""
        self._first = loss if self._first is None else self._first
        self._high = self._high + 1 if loss > max(HOPELESS_LOSS, 3 * self._first) else 0
        return not math.isfinite(loss) or self._high >= HOPELESS_LOGS

    @property
    def diverged(self) -> bool:
        """Whether training was ended because the loss is no longer of use."""
        return self._diverged

    def _warn_diverged(self, step: int) -> None:
        """Say, once, that what is trained has become useless."""
        if self._diverged:
            return
        self._diverged = True
        message = say(
            N_("At step {step} the loss is no longer of use: training ends. Lower the learning rate."),
            step=step,
        )
        self._control.record.emit(ev.Notice(code="diverged", message=message, level="warning"))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report the loss on the rows held out."""
        if metrics and math.isfinite(metrics.get("eval_loss", math.nan)):
            self._control.record.emit(ev.Evaluated(step=state.global_step, eval_loss=metrics["eval_loss"]))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Have the questions asked that belong to a checkpoint; the trainer has told of it already."""
        if state.global_step < state.max_steps and not self._control.ending:
            began = time.monotonic()
            self._at_checkpoint(state.global_step)
            self._clock += time.monotonic() - began  # or the speed of the next step would be wrong
