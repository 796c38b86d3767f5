"""Reports training progress as events, and applies stop, checkpoint and terminate requests."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engine.config.methods.method import LIGHT_STEPS, History, Light, no_lights
from engine.messages.message import say
from engine.model import hardware
from engine.protocol import events as ev
from engine.runtime.control import Control

if TYPE_CHECKING:  # it imports Unsloth
    from engine.training.first_loss import FirstLoss

# A loss that is both this high and this many times the first losses is no better than guessing, or nearly:
# with 260,000 tokens, guessing has a loss of 12.5. It may come down again; after this many logs it does not.
DIVERGED_LOSS, DIVERGED_FACTOR, DIVERGED_LOGS = 8.0, 3.0, 5
FIRST_LOGS = 5
NOTHING_LEARNED = "nothing_learned_yet"


def evaluations_without_gain(losses: Sequence[float], threshold: float) -> int:
    """How many of the last losses are not lower than the best before them, by more than `threshold`."""
    best, since = math.inf, 0
    for loss in losses:
        best, since = (loss, 0) if loss < best - threshold else (best, since + 1)
    return since


class EventCallback(TrainerCallback):
    """Turns the trainer's callbacks into events, and the control's flags into the trainer's control."""

    def __init__(
        self,
        control: Control,
        started: ev.TrainingStarted,
        on_checkpoint: Callable[[int], None],
        is_metric: Callable[[str], bool] = lambda key: False,
        first_loss: "FirstLoss | None" = None,
        lights: Callable[[History], Iterable[Light]] = no_lights,
    ) -> None:
        """`on_checkpoint`: called with the step of each complete checkpoint; training waits for it.

        `is_metric`: whether to report a number of the trainer with each step. `first_loss`: what the trainer
        measures in the first step. `lights`: what the metrics of the last steps say.
        """
        self._is_metric, self._first_loss, self._lights = is_metric, first_loss, lights
        self._history: deque[dict[str, float]] = deque(maxlen=LIGHT_STEPS)
        self._warned: set[str] = set()  # the metrics whose light was bad
        self._control, self._started, self._on_checkpoint = control, started, on_checkpoint
        self._clock, self._tokens = time.monotonic(), 0
        self._diverged = False
        self._first_losses: list[float] = []
        self._high_logs = 0
        self._patience, self._threshold = 0, 0.0
        self.stopped_early = False

    def stop_early(self, patience: int, threshold: float) -> None:
        """Stop after `patience` evaluations without a gain above `threshold`; never if it is 0."""
        self._patience, self._threshold = patience, threshold

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report the number of steps and epochs."""
        self._control.record.emit(
            msgspec.structs.replace(
                self._started, total_steps=state.max_steps, num_train_epochs=float(state.num_train_epochs)
            )
        )
        self._clock, self._tokens = time.monotonic(), int(state.num_input_tokens_seen or 0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Apply stop, checkpoint and terminate requests at the end of a step."""
        self._check_first_loss()
        requested = self._control
        stop = requested.should_end_training
        save = requested.checkpoint.is_set() or stop  # so that a stopped run can be resumed
        requested.checkpoint.clear()
        if args.world_size > 1:
            # Only rank 0 has a socket, but all ranks must stop at the same step.
            flags = torch.tensor([save, stop], dtype=torch.int32, device=args.device)
            torch.distributed.broadcast(flags, src=0)
            save, stop = bool(flags[0]), bool(flags[1])
            if stop:
                requested.stop.set()
        if save:
            control.should_save = True
        if control.should_save:
            control.should_log = True  # it may replace an older checkpoint: check the loss first
        if stop:
            control.should_training_stop = control.should_log = True
        return control

    def _check_first_loss(self) -> None:
        """Warn once if the loss of the first step shows a fault."""
        first = self._first_loss
        if first is None or first.over:
            return
        first.over = True
        if message := first.warning():
            self._control.record.emit(ev.Notice(code="first_loss", message=message, level="warning"))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Report a step. The trainer also logs its summary this way, which has no learning rate."""
        if not logs or "loss" not in logs or "learning_rate" not in logs:
            return
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen or 0)
        seconds, new = now - self._clock, tokens - self._tokens
        self._clock, self._tokens = now, tokens
        norm, loss = logs.get("grad_norm"), float(logs["loss"])
        metrics = self._reported(logs)
        if self._has_diverged(loss):
            self._warn_diverged(state.global_step)
            # The checkpoints already saved are better than one saved now.
            control.should_save = control.should_evaluate = False
            control.should_training_stop = True
        elif self._high_logs:
            control.should_save = False
            if self._high_logs == 1:
                self._warn_high(state.global_step, loss)
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
                metrics=metrics or msgspec.UNSET,
            )
        )
        if metrics:
            self._history.append(metrics)
            self._warn_of_bad_lights()

    def _warn_of_bad_lights(self) -> None:
        """Warn, once for each metric, when the last steps taught nothing."""
        for light in self._lights(tuple(self._history)):
            if light.level == "bad" and light.metric not in self._warned:
                self._warned.add(light.metric)
                self._control.record.emit(ev.Notice(code=NOTHING_LEARNED, message=light.message, level="warning"))

    def _reported(self, logs: Mapping[str, float | None]) -> dict[str, float]:
        """The training method's own numbers in a log."""
        own = ((key, value) for key, value in logs.items() if self._is_metric(key) and value is not None)
        return {key: float(value) for key, value in own if math.isfinite(value)}

    def _has_diverged(self, loss: float) -> bool:
        """Whether training cannot recover: the loss is not finite, or far too high for several logs."""
        usual = sum(self._first_losses) / len(self._first_losses) if self._first_losses else loss
        self._high_logs = self._high_logs + 1 if loss > max(DIVERGED_LOSS, DIVERGED_FACTOR * usual) else 0
        if not self._high_logs and len(self._first_losses) < FIRST_LOGS:
            self._first_losses.append(loss)
        return not math.isfinite(loss) or self._high_logs >= DIVERGED_LOGS

    @property
    def diverged(self) -> bool:
        """Whether training was ended because the loss diverged."""
        return self._diverged

    def _warn_high(self, step: int, loss: float) -> None:
        message = say(
            "At step {step} the loss is {loss}: no checkpoint is saved until it comes down.",
            step=step, loss=round(loss, 2),
        )  # fmt: skip
        self._control.record.emit(ev.Notice(code="loss_high", message=message, level="warning"))

    def _warn_diverged(self, step: int) -> None:
        """Report once that the loss diverged."""
        if self._diverged:
            return
        self._diverged = True
        message = say(
            "The loss diverged at step {step}: training stops. Lower the learning rate.",
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
        """Report the loss on the evaluation rows."""
        if metrics and math.isfinite(metrics.get("eval_loss", math.nan)):
            own = self._reported({key.removeprefix("eval_"): value for key, value in metrics.items()})
            self._control.record.emit(
                ev.Evaluated(step=state.global_step, eval_loss=metrics["eval_loss"], metrics=own or msgspec.UNSET)
            )
        # The trainer's own history is part of its checkpoints, so a resumed run counts on.
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if self._patience and evaluations_without_gain(losses, self._threshold) >= self._patience:
            self.stopped_early = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Call `on_checkpoint`; the trainer has reported the checkpoint already."""
        if state.global_step < state.max_steps and not self._control.ending:
            began = time.monotonic()
            self._on_checkpoint(state.global_step)
            self._clock += time.monotonic() - began  # do not count it in the next step's speed
