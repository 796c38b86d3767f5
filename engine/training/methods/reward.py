"""Reward models: learn to give the chosen answer a higher score than the rejected one."""

from dataclasses import replace
from typing import Any

import msgspec
from datasets import Dataset
from transformers import TrainerCallback
from trl import RewardConfig, RewardTrainer

from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model.loading import Loaded
from engine.model.reward_model import scores_of
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.method import Encoded, Prepared
from engine.training.pairs import PairMethod

PAIRS_SCORED = 64  # held-out pairs that are scored before and after training


class RewardMethod(PairMethod):
    """Trains with `trl.RewardTrainer`."""

    trainer_class, config_class = RewardTrainer, RewardConfig

    def token_columns(self, sides: tuple[Encoded, ...]) -> dict[str, list[int]]:
        return {f"{name}_ids": side.ids for name, side in zip(self.sides, sides, strict=True)}

    def has_answers(self, row: dict[str, Any]) -> bool:
        """Whether both texts fit into the context: TRL leaves other rows out."""
        return max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= self.spec.model.max_seq_length

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        return {
            **super().arguments(rows, record),
            "center_rewards_coefficient": self.spec.reward.center_rewards_coefficient or None,
            "disable_dropout": not self.spec.lora.lora_dropout,
            "gradient_checkpointing": bool(self.spec.lora.use_gradient_checkpointing),
        }

    def trainer(self, loaded: Loaded, data: Prepared, config: Any) -> Any:
        trainer = super().trainer(loaded, data, config)
        if trainer.eval_dataset is not None and len(trainer.eval_dataset):
            trainer.add_callback(PairsToldApart(trainer.eval_dataset, lambda: trainer.run_control.record))
        return trainer

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        rows, limit = len(data.train), self.spec.model.max_seq_length
        left_out = rows - len(trainer.train_dataset)
        if left_out == rows or left_out > self.spec.dataset.max_cut_share * rows:
            raise UserError(
                "rows_cut",
                say("{cut} of {rows} rows have an answer that ends after {length} tokens: they would be left out.",
                    cut=left_out, rows=rows, length=limit),
                say("Raise the context length, or allow more with max_cut_share (now {share}).",
                    share=self.spec.dataset.max_cut_share),
                "model.max_seq_length",
            )  # fmt: skip
        if left_out:
            message = say("Rows longer than {length} tokens left out: {count}.", length=limit, count=left_out)
            record.emit(ev.Notice(code="rows_left_out", message=message, level="warning"))
        ready = super().check(trainer, replace(data, train=trainer.train_dataset), stop_ids, record)
        eval_rows = len(trainer.eval_dataset) if trainer.eval_dataset is not None else 0
        return msgspec.structs.replace(ready, eval_rows=eval_rows, truncated_rows=left_out)


class PairsToldApart(TrainerCallback):
    """Scores held-out pairs before and after training, and reports how many are told apart."""

    def __init__(self, rows: Dataset, record: Any) -> None:
        pairs = rows.select(range(min(PAIRS_SCORED, len(rows))))
        self._chosen, self._rejected = list(pairs["chosen_ids"]), list(pairs["rejected_ids"])
        self._record = record
        self._before: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        if not state.global_step:  # not resumed
            self._before = self._margins(named["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        margins = self._margins(named["model"])
        values = {"count": len(margins), "after": _right(margins), "margin": round(sum(margins) / len(margins), 2)}
        message = say(
            "Held-out pairs told apart: {after} of {count}. The chosen answer scores {margin} more.", **values
        )
        if self._before:
            message = say(
                "Held-out pairs told apart: {after} of {count}, {before} before training. The chosen answer scores "
                "{margin} more.",
                before=_right(self._before), **values,
            )  # fmt: skip
        self._record().emit(ev.Notice(code="pairs_told_apart", message=message))

    def _margins(self, model: Any) -> list[float]:
        """By how much each chosen answer scores higher."""
        chosen, rejected = scores_of(model, self._chosen), scores_of(model, self._rejected)
        return [one - other for one, other in zip(chosen, rejected, strict=True)]


def _right(margins: list[float]) -> int:
    return sum(margin > 0 for margin in margins)


METHOD = RewardMethod
