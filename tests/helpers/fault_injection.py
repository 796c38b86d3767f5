"""Faults that tests inject into a real forked engine, at a given step.

`LORIS_FAULT` lists them, as in "slow@0.1,nan@7"; only tests read it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from engine.export import exports, merge
from engine.export.export_job import ExportJob
from engine.model import loading
from engine.runs import machine, manifest
from engine.training import recipe, trainer
from tests.helpers.engine_process import PLANTED


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plan(text: str) -> None:
    """Install the faults of a list of name@number."""
    for one in text.split(","):
        name, _, number = one.partition("@")
        FAULTS[name](float(number or 0))


def _before_step(act: Callable[[Any, int], None]) -> None:
    """Call `act(trainer, step)` before each forward pass; steps count from 1."""
    usual = trainer.Trainer.training_step

    def training_step(self: Any, *args: Any, **named: Any) -> Any:
        act(self, self.state.global_step + 1)
        return usual(self, *args, **named)

    trainer.Trainer.training_step = training_step  # type: ignore[method-assign]


def slow(seconds: float) -> None:
    """Delay every forward pass."""
    _before_step(lambda _self, _step: time.sleep(seconds))


def kill(at: float) -> None:
    """kill -9 in the middle of a step."""
    _before_step(lambda _self, step: die() if step == at else None)


def oom(at: float) -> None:
    """Raise CUDA's out-of-memory error."""

    def act(_self: Any, step: int) -> None:
        if step == at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total...")

    _before_step(act)


def cap(at: float) -> None:
    """Limit the GPU's memory for this process to what it uses: the next step runs out of memory."""

    def act(_self: Any, step: int) -> None:
        if step == at:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)

    _before_step(act)


def hog(megabytes: float) -> None:
    """Allocate more of the machine's memory at every step."""
    taken: list[bytearray] = []

    def act(_self: Any, _step: int) -> None:
        taken.append(bytearray(int(megabytes) << 20))
        time.sleep(0.05)

    _before_step(act)


def blowup(at: float) -> None:
    """The weights explode, and the loss with them; it stays finite."""

    def act(self: Any, step: int) -> None:
        if step == at:
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    if name.endswith("model.norm.weight"):
                        weight.mul_(50)

    _before_step(act)


def worsen(at: float) -> None:
    """The weights become a little worse."""

    def act(self: Any, step: int) -> None:
        if step == at:
            with torch.no_grad():
                for weight in self.model.parameters():
                    if weight.requires_grad:
                        weight.add_(torch.randn_like(weight) * 0.05)

    _before_step(act)


def nan(at: float) -> None:
    """A weight becomes NaN, and so does the loss."""

    def act(self: Any, step: int) -> None:
        if step == at:
            with torch.no_grad():
                next(p for p in self.model.parameters() if p.requires_grad).fill_(float("nan"))

    _before_step(act)


def hang(at: float) -> None:
    """The main thread hangs."""
    _before_step(lambda _self, step: time.sleep(10_000) if step == at else None)


def clock(at: float) -> None:
    """The wall clock jumps back a day."""
    real, jumped = time.time, []
    time.time = lambda: real() - (86_400 if jumped else 0)

    def act(_self: Any, step: int) -> None:
        if step == at:
            jumped.append(step)

    _before_step(act)


def killcheckpoint(at: float) -> None:
    """kill -9 once the files of a checkpoint are written, and before it counts."""
    usual = manifest.write_manifest

    def write_manifest(folder: Any, step: int = 0, eval_loss: float | None = None) -> int:
        if step == at:
            die()
        return usual(folder, step, eval_loss)

    manifest.write_manifest = write_manifest


def killadapter(_at: float) -> None:
    """kill -9 after the files of the adapter are written, before it is sealed."""
    killcheckpoint(0)


def killexport(_at: float) -> None:
    """kill -9 after the files of the merged model are written, before it is verified."""
    exports.check_merged = lambda *_: die()  # type: ignore[attr-defined]


def _delayed(usual: Callable[..., Any]) -> Callable[..., Any]:
    """The same function after a long wait."""

    def wait(*args: Any, **named: Any) -> Any:
        time.sleep(10_000)
        return usual(*args, **named)

    return wait


def holdload(_at: float) -> None:
    """Loading the model takes forever."""
    loading.load = _delayed(loading.load)


def holdprepare(_at: float) -> None:
    """So does preparing the data."""
    recipe.prepare = _delayed(recipe.prepare)  # type: ignore[attr-defined]


def holdexport(seconds: float) -> None:
    """So does merging, or it takes this long, with a half-made model in its folder."""
    usual = exports.export_merged_16bit

    def save(work: Any, folder: Any) -> None:
        usual(work, folder)
        time.sleep(seconds or 10_000)

    exports.export_merged_16bit = save  # type: ignore[attr-defined]


def killswap(_at: float) -> None:
    """kill -9 while an adapter is replaced: the old one is moved away, the new one not yet renamed."""
    usual = Path.rename

    def rename(self: Path, target: Any) -> Any:
        if Path(target).name == "adapter" and self.name.startswith(".adapter."):
            die()
        return usual(self, target)

    Path.rename = rename  # type: ignore[method-assign]


def reboot(at: float) -> None:
    """The engine seems to have started before the last boot, and dies in the middle of a step."""
    machine.boot_id = lambda: "an-earlier-boot"
    kill(at)


def hold(_at: float) -> None:
    """Exports wait at the step named in the run's file `hold`, until cancelled; the file `held` shows it."""
    order, said = Path(sys.argv[1], "hold"), Path(sys.argv[1], "held")
    step, halve = ExportJob.step, merge.in_16_bits

    def stay(name: str, given_up: Callable[[], bool] = lambda: False) -> None:
        while not given_up() and order.exists() and order.read_text() == name:
            said.touch()
            time.sleep(0.02)

    def held_step(self: ExportJob, name: Any, *args: Any, **named: Any) -> None:
        step(self, name, *args, **named)
        stay(name, self.cancelled)

    def held_halving(folder: Any) -> None:
        stay("merged")
        halve(folder)

    ExportJob.step = held_step  # type: ignore[method-assign]
    merge.in_16_bits = held_halving


def sloweval(seconds: float) -> None:
    """Delay every evaluation row."""
    usual = trainer.AtomicCheckpoints.prediction_step

    def prediction_step(self: Any, *args: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return usual(self, *args, **named)

    trainer.AtomicCheckpoints.prediction_step = prediction_step  # type: ignore[method-assign]


def token(_at: float) -> None:
    """Set the Hub's token in the environment, as users do."""
    os.environ["HF_TOKEN"] = os.environ["HUGGING_FACE_HUB_TOKEN"] = os.environ["WANDB_API_KEY"] = PLANTED


def say(_at: float) -> None:
    """Print a lot, as a library might, with the log on a full disk."""
    _before_step(lambda _self, _step: sys.stdout.write("chatter " * 4096 + "\n") and None)


FAULTS: dict[str, Callable[[float], None]] = {
    function.__name__: function
    for function in (
        slow, kill, oom, cap, hog, nan, blowup, worsen, hang, clock, killcheckpoint, killadapter, killexport,
        killswap, holdload, holdprepare, holdexport, reboot, sloweval, say, token, hold,
    )
}  # fmt: skip
