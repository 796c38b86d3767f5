"""Continued pretraining: learns texts as they are, long ones in pieces."""

from dataclasses import replace
from typing import Any

from datasets import Dataset
from unsloth import UnslothTrainer, UnslothTrainingArguments

from engine.config.lora import FULLY_TRAINED
from engine.messages.message import say
from engine.model import loading
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.check_labels import check_labels
from engine.training.method import Encoded, Prepared, processes
from engine.training.methods.sft import SFT


class CPT(SFT):
    """Trains with `unsloth.UnslothTrainer`, which has a learning rate for the embeddings."""

    trainer_class, config_class = UnslothTrainer, UnslothTrainingArguments

    @property
    def divides(self) -> bool:
        return self.spec.cpt.long_documents == "chunk"

    def pieces(self, length: int) -> int:
        if not self.divides:
            return super().pieces(length)
        limit, overlap = self.spec.model.max_seq_length, self.spec.cpt.chunk_overlap
        return 1 + max(0, -(-(length - limit) // (limit - overlap)))

    def divide(self, ids: list[int]) -> list[list[int]]:
        """The pieces of a text: each as long as the context but the last, and beginning with `chunk_overlap` tokens
        of the one before."""
        limit = self.spec.model.max_seq_length
        step = limit - self.spec.cpt.chunk_overlap
        return [ids[number * step : number * step + limit] for number in range(self.pieces(len(ids)))]

    def encode(self, rows: Any) -> list[tuple[Encoded, ...]]:
        if not self.divides:
            return super().encode(rows)
        return [(Encoded(ids, ids, 0 if ids else None),) for ids in self.tokens([row["text"] for row in rows])]

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        rate, modules = self.spec.cpt.embedding_learning_rate, self.spec.lora.modules_to_save
        trains_embeddings = self.spec.model.full_finetuning or self.spec.model.new_tokens
        if rate and not trains_embeddings and not set(modules) & set(FULLY_TRAINED):
            unused = say("No embedding is trained, so embedding_learning_rate is not used.")
            record.emit(ev.Notice(code="embedding_rate_unused", message=unused))
        return {**super().arguments(rows, record), "embedding_learning_rate": rate or None}

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        if self.divides:
            held_out = self.divide_all(data.held_out) if data.held_out is not None else None
            data = replace(data, train=self.divide_all(data.train), held_out=held_out)
        return super().trainer(loaded, data, config)

    def divide_all(self, texts: Dataset) -> Dataset:
        """The pieces of all texts, as rows of tokens, which the trainer takes as they are."""

        def divide(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            return {"input_ids": [piece for ids in self.tokens(batch["text"]) for piece in self.divide(ids)]}

        return texts.map(
            divide, batched=True, remove_columns=texts.column_names, num_proc=processes(self.spec, len(texts)),
            desc="Dividing",
        )  # fmt: skip

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        if not self.divides:
            return super().check(trainer, data, stop_ids, record)
        counts = [self.pieces(len(ids)) for batch in data.train.iter(1000) for ids in self.tokens(batch["text"])]
        if long := [count for count in counts if count > 1]:
            message = say(
                "Texts longer than {length} tokens: {count} of {texts}. They are learned in {pieces} pieces.",
                length=self.spec.model.max_seq_length, count=len(long), texts=len(counts), pieces=sum(long),
            )  # fmt: skip
            record.emit(ev.Notice(code="texts_divided", message=message))
        rows = replace(data, train=trainer.train_dataset)
        return check_labels(trainer, rows, self.spec, stop_ids, record, pieces=True)


METHOD = CPT
