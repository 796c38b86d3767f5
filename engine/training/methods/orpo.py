"""Odds-ratio preference optimization: learns the chosen answers, and to prefer them to the rejected ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from engine.dataset.mapping import Example
from engine.model import loading
from engine.model.logits import MASKED
from engine.runtime.event_writer import EventWriter
from engine.training.method import Encoded, Prepared
from engine.training.pairs import PairMethod, common_start


class TokenizedORPOTrainer(ORPOTrainer):
    """Gets rows with tokens. Counts the tokens of both sides, whose inputs have names of their own."""

    @staticmethod
    def tokenize_row(feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        masks = [inputs[f"{side}_attention_mask"].flatten() for side in ("chosen", "rejected")]
        both = torch.cat(masks)
        super()._track_num_input_tokens({"input_ids": both, "attention_mask": both})  # type: ignore[no-untyped-call]


class ORPO(PairMethod):
    """Trains with `trl.experimental.orpo.ORPOTrainer`. There is no reference."""

    trainer_class, config_class = TokenizedORPOTrainer, ORPOConfig

    @property
    def adds_special_tokens(self) -> bool:
        return False  # `row` writes them

    def row(self, example: Example) -> dict[str, str]:
        """The texts from BOS to EOS: this trainer adds both, whatever the template writes.

        The prompt ends where an answer parts from it, for instance before the <think> of a template's prompt.
        """
        bos, eos = (str(token or "") for token in (self.tokenizer.bos_token, self.tokenizer.eos_token))
        found = {name: bos + text.removeprefix(bos) for name, text in super().row(example).items()}
        found |= {side: found[side].removesuffix(eos) + eos for side in self.sides}
        shared = min(common_start(found["prompt"], found[side]) for side in self.sides)
        return {**found, "prompt": found["prompt"][:shared]}

    def answer_starts(self, prompt: Sequence[int], whole: Sequence[Sequence[int]]) -> list[int]:
        return [common_start(prompt, one) for one in whole]

    def token_columns(self, sides: tuple[Encoded, ...]) -> dict[str, list[int]]:
        limit, found = self.spec.model.max_seq_length, {}
        for name, side in zip(self.sides, sides, strict=True):
            found[f"{name}_input_ids"] = side.ids[:limit]
            found[f"{name}_attention_mask"] = [1] * len(side.labels)
            found[f"{name}_labels"] = side.labels
        return found

    def has_answers(self, row: dict[str, list[int]]) -> bool:
        return all(any(label != MASKED for label in row[f"{side}_labels"]) for side in self.sides)

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        held_out = self.tokenize(data.held_out) if data.held_out is not None else None
        return super().trainer(loaded, replace(data, train=self.tokenize(data.train), held_out=held_out), config)

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        return {**super().arguments(rows, record), "beta": self.spec.orpo.beta}


METHOD = ORPO
