"""A trainer that writes answers can be stopped meanwhile, and reports some of its answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_utils import TrainOutput

from engine.protocol import events as ev
from engine.runs.manifest import list_checkpoints
from engine.runtime.control import Control
from engine.training.reward_functions import RewardFunctions

SHOWN_ANSWERS, SHOWN_SECONDS = 4, 2.0  # of a step in an event, and the least time between two of them


class AnsweringStopped(Exception):
    """Ends the writing of answers, because training is to stop."""


class AnsweringTrainer(Trainer):
    """Goes before `trl.GRPOTrainer` among the bases of a class. Set `scored` and `run_control` before it trains."""

    scored: RewardFunctions
    run_control: Control
    _reported = -SHOWN_SECONDS

    def train(self, *args: Any, **named: Any) -> TrainOutput:
        """Train; a stop while answers are written undoes the step that they are for."""
        began = time.monotonic()
        try:
            return super().train(*args, **named)
        except AnsweringStopped:
            step = self.state.global_step
            saved = list_checkpoints(Path(str(self.args.output_dir)))
            if step and not (saved and saved[0].step == step):
                self._save_checkpoint(self.model_wrapped, trial=None)
            self.callback_handler.on_train_end(self.args, self.state, self.control)
            loss = (self._total_loss_scalar + float(self._tr_loss)) / max(1, step)
            return TrainOutput(step, loss, {"train_runtime": time.monotonic() - began})

    def _generate_single_turn(self, *args: Any, **named: Any) -> Any:
        several = self.args.world_size > 1  # only one rank receives the request, and all must do the same
        with nullcontext() if several else self._stoppable():
            return super()._generate_single_turn(*args, **named)  # type: ignore[misc]  # of GRPOTrainer

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Ask before each token whether to stop; then the random numbers are those from before the answers."""

        def check(*_: Any) -> None:
            if self.run_control.should_end_training:
                raise AnsweringStopped

        model: Any = self.model
        state, states = torch.get_rng_state(), torch.cuda.get_rng_state_all()  # without a GPU, of none
        hook = model.get_base_model().register_forward_pre_hook(check)
        try:
            yield
        except AnsweringStopped:
            torch.set_rng_state(state)
            torch.cuda.set_rng_state_all(states)
            raise
        finally:
            hook.remove()

    def log(self, logs: dict[str, float], *args: Any, **named: Any) -> None:
        """Log a step, and report some of its answers."""
        step = "loss" in logs  # and not the summary, or an evaluation
        super().log(logs, *args, **named)
        answers = self.scored.newest(SHOWN_ANSWERS)
        if step and answers and time.monotonic() - self._reported >= SHOWN_SECONDS:
            self._reported = time.monotonic()
            self.run_control.record.emit(ev.Completions(step=self.state.global_step, answers=answers))
