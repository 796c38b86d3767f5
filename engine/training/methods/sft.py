"""Supervised fine-tuning: learns the answers of the dataset, or complete texts."""

from functools import cached_property
from itertools import count, groupby
from typing import Any

from trl import SFTConfig, SFTTrainer
from unsloth.chat_templates import train_on_responses_only

from engine.config.run_spec import RunSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Example, Kind
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import hardware, loading
from engine.model.logits import MASKED
from engine.prompting import mask_markers
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training import check_labels
from engine.training.method import Labels, Prepared, TrainingMethod, processes


class SFT(TrainingMethod):
    """Trains with `trl.SFTTrainer`."""

    trainer_class, config_class = SFTTrainer, SFTConfig

    def __init__(
        self, spec: RunSpec, kind: PromptFormatName, tokenizer: Any, stop_ids: list[int], data_kind: Kind
    ) -> None:
        super().__init__(spec, kind, tokenizer, stop_ids, data_kind)
        self._masked: dict[int, tuple[int, ...]] = {}  # answers to mask, by the hash of a row's tokens
        # TRL's own trainer, which Unsloth uses on a CPU, adds a BOS token even if the text starts with one, and an
        # EOS token if it does not end with one, whatever the template. Unsloth's trainer on a GPU does neither.
        self._by_trl = hardware.device().kind == "cpu"
        if spec.dataset.train_on_responses_only and kind != "plain":
            found = mask_markers.find_markers(spec.dataset, self.prompt_format, self.tokenizer)
            self.instruction_part, self.response_part = found

    def for_trainer(self, row: dict[str, str]) -> dict[str, str]:
        return {"text": row["text"].removeprefix(self.bos)} if self._by_trl else row

    def tokens(self, texts: list[str]) -> list[list[int]]:
        if self._by_trl:
            eos = str(self.tokenizer.eos_token)
            texts = [text if text.endswith(eos) else text + eos for text in texts]
        return super().tokens(texts)

    def text(self, example: Example) -> str:
        if example.masked and not self.response_part:
            raise UserError(
                "mask_unused",
                say("A turn has weight: 0 or train: false. It can be masked only if training is on responses."),
                None,
                "dataset.train_on_responses_only",
            )
        return super().text(example)

    def remember_masked(self, text: str, masked: tuple[int, ...]) -> None:
        [ids] = self.tokens([text])
        self._masked[hash(tuple(ids[: self.spec.model.max_seq_length]))] = masked

    @property
    def labels(self) -> Labels | None:
        """The labels of all answers but the masked ones, or of the last."""
        labels_of = self._labels_of_answers
        if labels_of is None:
            return None
        return lambda batch: [
            self._without_masked(ids, labels) for ids, labels in zip(batch, labels_of(batch), strict=True)
        ]

    def _without_masked(self, ids: list[int], labels: list[int]) -> list[int]:
        """The labels without those of the row's masked answers: each run of labels is an answer."""
        masked = self._masked.get(hash(tuple(ids)), ()) if self._masked else ()
        last_only = self.spec.dataset.last_answer_only
        if not masked and not last_only:
            return labels
        grouped = groupby(labels, lambda label: label != MASKED)
        runs = [(learned, list(run)) for learned, run in grouped]
        last = sum(learned for learned, _ in runs) - 1
        answers = count()
        found: list[int] = []
        for learned, run in runs:
            answer = next(answers) if learned else 0
            drop = learned and (answer in masked or (last_only and answer < last))
            found += [MASKED] * len(run) if drop else run
        return found

    @cached_property
    def _labels_of_answers(self) -> Labels | None:
        if not self.response_part:
            return None
        mask = train_on_responses_only(
            None, instruction_part=self.instruction_part, response_part=self.response_part,
            tokenizer=self.tokenizer, return_function=True,
        )  # fmt: skip

        def labels(batch: list[list[int]]) -> list[list[int]]:
            found: list[list[int]] = mask({"input_ids": batch})["labels"]
            return found

        return labels

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        on_cpu, packing = hardware.device().kind == "cpu", self.spec.training.packing
        if on_cpu and packing:
            packing = False
            record.emit(ev.Notice(code="packing_off", message=say("Packing needs a GPU: it is off.")))
        return {
            "packing": packing,
            "max_length": self.spec.model.max_seq_length,
            "dataset_text_field": "text",
            # On a GPU, Unsloth reads None as one process per core.
            "dataset_num_proc": processes(self.spec, rows) or (None if on_cpu else 1),
        }

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        """The trainer, with everything but the answers masked. Raises `UserError` when nothing is left to learn."""
        trainer = super().trainer(loaded, data, config)
        if self.response_part:
            try:
                train_on_responses_only(
                    trainer,
                    instruction_part=self.instruction_part,
                    response_part=self.response_part,
                    num_proc=processes(self.spec, len(trainer.train_dataset)) or 1,
                )
            except (ValueError, ZeroDivisionError) as error:
                raise check_labels.nothing_learned(self.spec) from error
        if self.response_part and (self._masked or self.spec.dataset.last_answer_only):
            trainer.train_dataset = trainer.train_dataset.map(self._mask_row)
            if trainer.eval_dataset is not None:
                trainer.eval_dataset = trainer.eval_dataset.map(self._mask_row)
        return trainer

    def _mask_row(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"labels": self._without_masked(row["input_ids"], row["labels"])}

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        return check_labels.check_labels(trainer, data, self.spec, stop_ids, record)


METHOD = SFT
