"""Group relative policy optimization: writes several answers to each prompt and learns the better ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from engine.dataset.mapping import Example
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model import loading
from engine.model.logits import MASKED
from engine.protocol import events as ev
from engine.rewards import rewards_for
from engine.runtime.event_writer import EventWriter
from engine.training.answering_trainer import AnsweringTrainer
from engine.training.check_labels import SHOWN_CHARACTERS
from engine.training.method import Encoded, Prepared, TrainingMethod
from engine.training.reward_functions import RewardFunctions


class GRPO(TrainingMethod):
    """Trains with `trl.GRPOTrainer`. The reference, if there is one, is the model without the adapter."""

    trainer_class, config_class = GRPOTrainer, GRPOConfig
    columns = ("prompt", "answer", "row")
    sides = ("prompt",)
    learns_answers = False
    rewards: RewardFunctions

    def row(self, example: Example) -> dict[str, str]:
        prompt = self.prompt_format.question_text(self.tokenizer, example)
        return {"prompt": prompt, "answer": example.answer, "row": "{}"}

    def for_trainer(self, row: dict[str, str]) -> dict[str, str]:
        return {**row, "prompt": row["prompt"].removeprefix(self.bos)}  # the trainer's tokenizer adds it

    def texts(self, row: Mapping[str, str]) -> list[str]:
        return [row["prompt"] + row["answer"]]  # a check may compare with the answer: nothing of the row is lost

    def encode(self, rows: Sequence[Mapping[str, str]]) -> list[tuple[Encoded, ...]]:
        limit = self.spec.model.max_seq_length
        found = self.tokens([row["prompt"] for row in rows])
        return [(Encoded(ids, [MASKED] * min(len(ids), limit), None),) for ids in found]

    @property
    def room(self) -> int:
        """How many tokens a prompt may have."""
        return self.spec.model.max_seq_length - self.spec.grpo.max_completion_length

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        grpo, training = self.spec.grpo, self.spec.training
        self.rewards = RewardFunctions(rewards_for(self.spec, record.folder), self.tokenizer)
        writer = "vLLM" if grpo.use_vllm else "transformers"
        message = say("The answers to learn from are written by {writer}.", writer=writer)
        record.emit(ev.Notice(code="answers_by", message=message))
        eval_batch = training.per_device_eval_batch_size or training.per_device_train_batch_size
        return {
            "reward_weights": self.rewards.weights,
            "num_generations": grpo.num_generations,
            "num_generations_eval": gcd(grpo.num_generations, eval_batch),  # must divide the batch
            "max_completion_length": grpo.max_completion_length,
            "temperature": grpo.temperature,
            "beta": grpo.beta,
            "loss_type": grpo.loss_type,
            "importance_sampling_level": grpo.importance_sampling_level,
            "scale_rewards": grpo.scale_rewards,
            "epsilon": grpo.epsilon,
            "epsilon_high": grpo.epsilon_high,
            "mask_truncated_completions": grpo.mask_truncated_completions,
            "shuffle_dataset": training.train_sampling_strategy == "random",
            "use_vllm": grpo.use_vllm,
            "vllm_mode": "colocate",
            "vllm_gpu_memory_utilization": grpo.vllm_gpu_memory_utilization,
            "vllm_max_model_length": self.spec.model.max_seq_length,
            "include_num_input_tokens_seen": "no",  # the trainer itself counts the tokens of prompts and answers
        }

    @property
    def prepared_trainer_class(self) -> Any:
        return type("Answering", (AnsweringTrainer, self.trainer_class), {})

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        return {"reward_funcs": self.rewards.functions}

    def trainer(self, loaded: loading.Loaded, data: Prepared, config: Any) -> Any:
        """The trainer, without the prompts that leave no room for an answer. Raises `UserError` if too few fit."""
        needed, held_out = config.generation_batch_size // config.num_generations, data.held_out
        train = self._fitting(data.train)
        if len(train) < needed:
            raise self._too_few(len(train), needed)
        rows = replace(data, train=train, held_out=self._fitting(held_out) if held_out else None)
        trainer = super().trainer(loaded, rows, config)
        trainer.scored = self.rewards
        self.rewards.ends = frozenset((*loading.stop_ids(loaded), self.tokenizer.pad_token_id))
        return trainer

    def _fitting(self, rows: Dataset) -> Dataset:
        lengths = [len(ids) for batch in rows.iter(1000) for ids in self.tokens(batch["prompt"])]
        return rows.select([n for n, length in enumerate(lengths) if length <= self.room])

    def _too_few(self, fitting: int, needed: int) -> UserError:
        message = say(
            "A step needs {needed} prompts with room for an answer of {length} tokens; the dataset has {count}.",
            needed=needed, length=self.spec.grpo.max_completion_length, count=fitting,
        )  # fmt: skip
        hint = say("Lower the batch size or the longest answer, raise the context length, or add prompts.")
        return UserError("too_few_prompts", message, hint, "grpo.max_completion_length")

    def check(self, trainer: Any, data: Prepared, stop_ids: list[int], record: EventWriter) -> ev.DatasetReady:
        """Count the rows. Raises `UserError` if too many prompts leave no room for an answer."""
        rows = trainer.train_dataset
        long = len(data.train) - len(rows)
        if long > self.spec.dataset.max_cut_share * len(data.train):
            raise self._too_long(long, len(data.train))
        if long:
            message = say(
                "Prompts left out: {count}. Over {room} tokens they leave no room for an answer of {length}.",
                count=long, room=self.room, length=self.spec.grpo.max_completion_length,
            )  # fmt: skip
            record.emit(ev.Notice(code="prompts_left_out", message=message, level="warning"))
        first = self.tokens([rows[0]["prompt"]])
        return ev.DatasetReady(
            rows=len(rows),
            eval_rows=len(trainer.eval_dataset) if trainer.eval_dataset is not None else 0,
            format=self.prompt_format.format,
            columns=data.columns,
            tokens=sum(len(ids) for batch in rows.iter(1000) for ids in self.tokens(batch["prompt"])),
            learned_tokens=0,
            truncated_rows=0,
            instruction_part="",
            response_part="",
            example_raw=data.example_raw[:SHOWN_CHARACTERS],
            example_text=self.decode(first)[0][:SHOWN_CHARACTERS],
            example_learned="",
        )

    def _too_long(self, long: int, rows: int) -> UserError:
        message = say(
            "{long} of {rows} prompts have over {room} tokens: no room is left for an answer of {length}.",
            long=long, rows=rows, room=self.room, length=self.spec.grpo.max_completion_length,
        )  # fmt: skip
        hint = say(
            "Raise the context length or lower the longest answer, or allow more with max_cut_share (now {share}).",
            share=self.spec.dataset.max_cut_share,
        )
        return UserError("prompts_too_long", message, hint, "model.max_seq_length")


METHOD = GRPO
