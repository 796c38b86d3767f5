"""TRL's trainers with atomic checkpoints, and with an evaluation that can be stopped."""

import math
import os
import shutil
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from transformers import SchedulerType, Trainer

from engine.config.files import set_aside
from engine.config.optimizers import DECAY_SHARE
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.file_modes import set_usual_modes
from engine.runs.own_files import is_own_folder, remove_checkpoint, replace_folder
from engine.runtime.control import Control
from engine.runtime.explain import explain

if TYPE_CHECKING:  # it imports Unsloth
    from engine.training.first_loss import FirstLoss

SPEC = "spec.yaml"
REFERENCE = "ref"  # TRL's name for its frozen copy of the adapter: what the model was before


class _EvaluationStopped(Exception):
    """Ends the evaluation, because training is to stop."""


def first_non_finite(model: Any) -> str:
    """The name of a trained weight with a value that is not finite; empty when all are finite."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            return str(name)
    return ""


def diverged(step: int, kept: list[manifest.Checkpoint]) -> UserError:
    """The error for training that cannot recover. `kept`: the existing checkpoints, newest first."""
    hint = say("Lower the learning rate and train again.")
    if kept:
        hint = say(
            "Lower the learning rate and train again. The checkpoint of step {step} is good.", step=kept[0].step
        )
    return UserError("diverged", say("The loss diverged at step {step}.", step=step), hint)


def drop_reference(model: Any) -> None:
    """Remove the reference of a preference training: it must not be chatted with or exported."""
    if REFERENCE in getattr(model, "peft_config", {}):
        model.delete_adapter(REFERENCE)


def with_atomic_checkpoints(trainer_class: Any) -> Any:
    """A trainer class with the engine's way to save and to evaluate. Set `run_control` before it trains."""
    return type("Trainer", (AtomicCheckpoints, trainer_class), {})


class AtomicCheckpoints(Trainer):
    """Saves each checkpoint under a temporary name, writes its manifest, renames it, and then deletes old ones."""

    run_control: Control
    first_loss: "FirstLoss | None" = None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> torch.Tensor:
        """Train on a batch; in the first step, measure the model's own loss on it before."""
        first = self.first_loss if self.first_loss and not self.first_loss.over else None
        if first:
            first.before(inputs)
        loss = super().training_step(model, inputs, *args, **named)
        if first:
            first.after(float(loss))
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint, or report why not and continue. Raises `UserError` if weights are not finite."""
        step, folder = self.state.global_step, Path(str(self.args.output_dir))
        if bad := first_non_finite(self.model):
            sys.stderr.write(f"step {step}: {bad} is not finite: no checkpoint is saved\n")
            raise diverged(step, manifest.list_checkpoints(folder))
        partial, target = folder / f"{manifest.PARTIAL}{step}", folder / f"checkpoint-{step}"
        leader = self.args.process_index == 0
        if leader:
            shutil.rmtree(partial, ignore_errors=True)
        self._barrier()
        self._partial_dir = str(partial)
        try:
            super()._save_checkpoint(model, trial)
            self._barrier()
            if leader:
                self._publish(partial / target.name, target, step)
        except Exception as error:
            self._report_not_saved(error, step)
        finally:
            self._partial_dir = ""
            if leader:
                shutil.rmtree(partial, ignore_errors=True)
        self._barrier()

    def _publish(self, written: Path, target: Path, step: int) -> None:
        """Complete a checkpoint, report it, and delete those beyond the limit."""
        spec = target.parent.parent / SPEC
        if spec.is_file():  # the settings it was trained with: a resume compares them
            shutil.copyfile(spec, written / SPEC)
        # A resume makes the reference as the start did: of the adapter before its first step.
        shutil.rmtree(written / REFERENCE, ignore_errors=True)
        set_usual_modes(written)
        manifest.write_manifest(written, step, self._eval_loss_at(step))
        if broken := manifest.find_fault(written):
            raise OSError(broken)
        if is_own_folder(target):  # saved before, by an engine that was resumed from an older one
            replace_folder(written, target)
        else:
            if os.path.lexists(target):
                set_aside(target)
            written.rename(target)
        manifest.fsync(target.parent)
        found = manifest.list_checkpoints(target.parent)
        best = manifest.best_checkpoint(found)
        self.run_control.record.emit(
            ev.CheckpointSaved(
                step=step,
                path=str(target),
                eval_loss=self._eval_loss_at(step),
                best=best is not None and best.step == step,
            )
        )
        for old in manifest.checkpoints_to_delete(found, self.args.save_total_limit or len(found)):
            with suppress(OSError):
                remove_checkpoint(old.path)

    def _report_not_saved(self, error: Exception, step: int) -> None:
        """Training continues when the disk is full: the last checkpoint is still there, and the next may fit."""
        failure = explain(error)
        if failure.code not in ("disk_full", "not_writable") and not isinstance(error, OSError):
            raise error
        traceback.print_exc()
        message = say(
            "The checkpoint of step {step} was not saved: {reason} Training continues.",
            step=step, reason=str(failure.message),
        )  # fmt: skip
        self.run_control.record.emit(ev.Notice(code="checkpoint_not_saved", message=message, level="warning"))

    def _get_output_dir(self, trial: Any) -> str:
        return getattr(self, "_partial_dir", "") or str(super()._get_output_dir(trial))

    def _barrier(self) -> None:
        if self.args.world_size > 1:
            torch.distributed.barrier()

    def _eval_loss_at(self, step: int) -> float | None:
        """The evaluation loss, if it was measured at this step."""
        at, loss = getattr(self, "_last_eval", (-1, None))
        return loss if at == step and loss is not None and math.isfinite(loss) else None

    def evaluate(self, *args: Any, **named: Any) -> dict[str, float]:
        metrics: dict[str, float] = super().evaluate(*args, **named)
        self._last_eval = (self.state.global_step, metrics.get("eval_loss"))
        return metrics

    def _evaluate(self, *args: Any, **named: Any) -> dict[str, float]:
        """Evaluate between two steps; empty when training is asked to stop meanwhile."""
        try:
            metrics: dict[str, float] = super()._evaluate(*args, **named)
        except _EvaluationStopped:
            self.control.should_training_stop = True
            self.control.should_save = True  # to resume from
            return {}
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return bool(metrics) and bool(super()._determine_best_metric(metrics, trial))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.args.lr_scheduler_type == SchedulerType.WARMUP_STABLE_DECAY:
            self.args.lr_scheduler_kwargs = {"num_decay_steps": math.ceil(num_training_steps * DECAY_SHARE)}
        return super().create_scheduler(num_training_steps, optimizer)

    def load_best(self) -> manifest.Checkpoint | None:
        """Put the weights of the best checkpoint into the model; None if the last weights are as good."""
        found = manifest.list_checkpoints(Path(str(self.args.output_dir)), hashes=True)
        best = manifest.best_checkpoint(found)
        at, loss = getattr(self, "_last_eval", (-1, None))
        if best is None or best.eval_loss is None or best.step == self.state.global_step:
            return None
        if at == self.state.global_step and loss is not None and loss <= best.eval_loss:
            return None
        self._load_from_checkpoint(str(best.path))
        return best

    def prediction_step(self, *args: Any, **named: Any) -> Any:
        # With several ranks only one receives the stop request, and all must do the same.
        if self.args.world_size == 1 and self.run_control.should_end_training:
            raise _EvaluationStopped
        return super().prediction_step(*args, **named)


def check_finite(model: Any, step: int, folder: Path) -> None:
    """Raises `UserError` if a trained weight is not finite: the result is not saved."""
    if bad := first_non_finite(model):
        sys.stderr.write(f"{bad} is not finite: nothing is saved\n")
        raise diverged(step, manifest.list_checkpoints(folder))
