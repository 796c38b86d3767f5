"""Kahneman-Tversky optimization: makes good answers likelier and bad ones less likely."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from engine.config.run_spec import RunSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Example, Kind
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.method import Prepared
from engine.training.pairs import PairMethod, answer_start, common_start, single_rows

GOOD, BAD = "true", "false"  # votes, in a column of text


class KTO(PairMethod):
    """Trains with `trl.KTOTrainer`, on votes, or on pairs: a good answer and a bad one each."""

    trainer_class, config_class = KTOTrainer, KTOConfig

    def __init__(
        self, spec: RunSpec, kind: PromptFormatName, tokenizer: Any, stop_ids: list[int], data_kind: Kind
    ) -> None:
        super().__init__(spec, kind, tokenizer, stop_ids, data_kind)
        if data_kind == "votes":
            self.columns, self.sides = ("prompt", "completion", "label"), ("completion",)

    def row(self, example: Example) -> dict[str, str]:
        if example.rejected:
            return super().row(example)
        return {
            "prompt": self.prompt_format.question_text(self.tokenizer, example),
            "completion": self.text(example),
            "label": GOOD if example.good else BAD,
        }

    def answer_starts(self, prompt: Sequence[int], whole: Sequence[Sequence[int]]) -> list[int]:
        return [common_start(prompt, one) for one in whole]

    def tokenize(self, rows: Dataset) -> Dataset:
        """The votes with their tokens, and with another answer of their batch to estimate the KL.

        In one process, because both depend on where TRL's batches begin: pairs come as 1000 good answers and then
        their 1000 bad ones, and a vote gets the answer of the one before it in its training batch.
        """
        votes = rows.map(self._votes, batched=True, remove_columns=rows.column_names, desc="Tokenizing")
        votes = votes.filter(self.has_answers, desc="Leaving out prompts that fill the context")
        if self.spec.kto.loss_type != "kto":
            return votes
        size = self.spec.training.per_device_train_batch_size
        return votes.map(_with_other_answers, batched=True, batch_size=size, desc="Pairing for the KL")

    def _votes(self, batch: Mapping[str, list[str]]) -> dict[str, list[Any]]:
        encoded = self.encode(single_rows(batch))
        sides = [side for one in zip(*encoded, strict=True) for side in one]  # all good ones first
        rows = len(encoded)
        goods = [label == GOOD for label in batch["label"]] if "label" in batch else [True] * rows + [False] * rows
        return {
            "prompt_ids": [side.ids[: answer_start(side)] for side in sides],
            "completion_ids": [side.ids[answer_start(side) :] for side in sides],
            "label": goods,
        }

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        if len(set(trainer.train_dataset["label"])) == 1:
            raise UserError(
                "one_vote",
                say("All votes are alike: there is nothing to tell apart."),
                say("KTO needs good answers and bad ones. To learn good answers alone, use SFT."),
                "dataset.label_column",
            )
        return super().check(trainer, data, stop_ids, record)

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        settings = self.spec.kto
        return {
            **super().arguments(rows, record),
            "beta": settings.beta,
            "loss_type": settings.loss_type,
            "desirable_weight": settings.desirable_weight,
            "undesirable_weight": settings.undesirable_weight,
        }


def _with_other_answers(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    *others, last = batch["completion_ids"]
    return {"KL_completion_ids": [last, *others]}


METHOD = KTO
