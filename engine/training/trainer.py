"""TRL's trainers with checkpoints that are whole or not there, and with an evaluation that can be cut short."""

from __future__ import annotations

import math
import shutil
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from transformers import Trainer

from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runtime.control import Control
from engine.runtime.explain import explain

SPEC = "spec.yaml"


class _Cut(Exception):
    """The evaluation is left, for training is to stop."""


def not_finite(model: Any) -> str:
    """The name of a trained weight that holds something that is no number; empty when all are sound."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            return str(name)
    return ""


def diverged(step: int, kept: list[manifest.Checkpoint]) -> UserError:
    """Training has gone wrong for good. `kept`: the checkpoints of before, the newest first."""
    hint = say("Lower the learning rate and train again.")
    if kept:
        hint = say(
            "Lower the learning rate and train again. The checkpoint of step {step} is sound.", step=kept[0].step
        )
    return UserError("diverged", say("At step {step} the loss is no longer of use.", step=step), hint)


def checkpointed(trainer_class: Any) -> Any:
    """A class of trainers with the engine's own way to save and to evaluate. Set `loris` before it trains."""
    return type("Trainer", (WholeCheckpoints, trainer_class), {})


class WholeCheckpoints(Trainer):
    """Saves each checkpoint under another name, seals it, and renames it: only then may an older one go."""

    loris: Control

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save one, or tell why not and train on. Raises `UserError` when the weights are of no use."""
        step, folder = self.state.global_step, Path(str(self.args.output_dir))
        if bad := not_finite(self.model):
            sys.stderr.write(f"step {step}: {bad} is not finite: no checkpoint is saved\n")
            raise diverged(step, manifest.list_checkpoints(folder))
        partial, target = folder / f"{manifest.PARTIAL}{step}", folder / f"checkpoint-{step}"
        leader = self.args.process_index == 0
        if leader:
            shutil.rmtree(partial, ignore_errors=True)
        self._together()
        self._run_dir = str(partial)
        try:
            super()._save_checkpoint(model, trial)
            self._together()
            if leader:
                self._complete(partial / target.name, target, step)
        except Exception as error:
            self._not_saved(error, step)
        finally:
            self._run_dir = ""
            if leader:
                shutil.rmtree(partial, ignore_errors=True)
        self._together()

    def _complete(self, written: Path, target: Path, step: int) -> None:
        """Make a checkpoint count, tell of it, and let the oldest go."""
        spec = target.parent.parent / SPEC
        if spec.is_file():  # with which it was trained: the next engine compares
            shutil.copyfile(spec, written / SPEC)
        manifest.write_manifest(written, step, self._measured(step))
        if broken := manifest.find_fault(written):
            raise OSError(broken)
        if target.exists():  # this step was saved before, by an engine that went on from an older one
            manifest.remove_checkpoint(target)
        written.rename(target)
        manifest.fsync(target.parent)
        found = manifest.list_checkpoints(target.parent)
        best = manifest.best_checkpoint(found)
        self.loris.record.emit(
            ev.CheckpointSaved(
                step=step,
                path=str(target),
                eval_loss=self._measured(step),
                best=best is not None and best.step == step,
            )
        )
        for old in manifest.checkpoints_to_delete(found, self.args.save_total_limit or len(found)):
            with suppress(OSError):
                manifest.remove_checkpoint(old.path)

    def _not_saved(self, error: Exception, step: int) -> None:
        """A full disk ends no training: the last good checkpoint is still there, and the next may fit."""
        failure = explain(error)
        if failure.code not in ("disk_full", "not_writable") and not isinstance(error, OSError):
            raise error
        traceback.print_exc()
        message = say(
            "The checkpoint of step {step} was not saved: {reason} Training goes on.",
            step=step, reason=str(failure.message),
        )  # fmt: skip
        self.loris.record.emit(ev.Notice(code="checkpoint_not_saved", message=message, level="warning"))

    def _get_output_dir(self, trial: Any) -> str:
        return getattr(self, "_run_dir", "") or str(super()._get_output_dir(trial))

    def _together(self) -> None:
        if self.args.world_size > 1:
            torch.distributed.barrier()

    def _measured(self, step: int) -> float | None:
        """The loss on the held-out rows at this very step, where it was measured."""
        at, loss = getattr(self, "_last_eval", (-1, None))
        return loss if at == step and loss is not None and math.isfinite(loss) else None

    def evaluate(self, *args: Any, **named: Any) -> dict[str, float]:
        """Measure on the held-out rows; empty when training was told to stop meanwhile."""
        try:
            metrics: dict[str, float] = super().evaluate(*args, **named)
        except _Cut:
            self.control.should_training_stop = True
            self.control.should_save = True  # to go on from
            return {}
        self._last_eval = (self.state.global_step, metrics.get("eval_loss"))
        return metrics

    def prediction_step(self, *args: Any, **named: Any) -> Any:
        # Of several ranks one alone hears of a stop: they must stay in step.
        if self.args.world_size == 1 and self.loris.should_end_training:
            raise _Cut
        return super().prediction_step(*args, **named)


def finite(model: Any, step: int, folder: Path) -> None:
    """Refuse to save what is of no use. Raises `UserError`."""
    if bad := not_finite(model):
        sys.stderr.write(f"{bad} is not finite: no adapter is saved\n")
        raise diverged(step, manifest.list_checkpoints(folder))
