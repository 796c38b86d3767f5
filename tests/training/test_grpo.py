"""GRPO's rows as the trainer gets them, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.model import loading
from engine.protocol import events as ev
from engine.runs.folder import RunFolder
from engine.runtime.event_writer import EventWriter
from engine.training import prepare, recipe
from engine.training.method import Prepared
from tests.helpers.engine_process import with_changes

pytest_plugins = ["tests.helpers.proof_fixtures"]

ROWS = [{"prompt": "Who are you?", "answer": "Loris.", "level": 3}, {"prompt": "你是谁？", "answer": "懒猴。"}] * 2
LONG = {"prompt": "Who are you? " * 40, "answer": "Loris."}


@pytest.fixture
def prepared(demo: RunSpec, loaded: loading.Loaded, record: EventWriter, tmp_path: Path) -> Callable[..., Any]:
    """(the report, the trainer's rows, the data) of these rows. It never trains."""

    def make(rows: list[dict[str, Any]], **dataset: Any) -> tuple[ev.DatasetReady, Any, Prepared]:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = with_changes(
            demo, model={"max_seq_length": 128}, generation={"prompts": ()},
            dataset={"path": str(path), "written_with": "chat_template", **dataset},
            training={"method": "grpo", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
            grpo={"num_generations": 2, "max_completion_length": 32, "rewards": ("answer",)},
        )  # fmt: skip
        stops = loading.stop_ids(loaded)
        data = prepare.prepare(spec, deepcopy(loaded.tokenizer), stops, record)  # a named template changes it
        config = recipe.training_arguments(data.method, loaded, RunFolder(tmp_path), len(data.train), record)
        trainer = data.method.trainer(loaded, data, config)
        return data.method.check(trainer, data, stops, record), trainer, data

    return make


@pytest.mark.parametrize("template", ["auto", "chatml"])
def test_the_trainer_tokenises_a_prompt_as_it_would_tokenise_the_chat(
    template: str, prepared: Callable[..., Any]
) -> None:
    report, trainer, _ = prepared(ROWS, chat_template=template)
    rows = trainer.train_dataset
    ids, _, _ = trainer._tokenize_prompts(list(rows["prompt"]))
    chats = [[{"role": "user", "content": row["prompt"]}] for row in ROWS]
    expected, _, _ = trainer._tokenize_prompts(chats)
    bos = trainer.processing_class.bos_token_id
    if template == "chatml":  # it writes no BOS, and the tokenizer adds one, as in SFT and in the chat
        expected = [[bos, *one] if one[0] != bos else one for one in expected]
    assert ids == expected
    assert all(one.count(bos) == 1 for one in ids)
    assert report.tokens == sum(map(len, ids))
    assert report.learned_tokens == 0


def test_the_rewards_get_the_reference_and_the_row_as_it_was(prepared: Callable[..., Any]) -> None:
    _, trainer, _ = prepared(ROWS)
    first = trainer.train_dataset[0]
    assert first["answer"] == "Loris."
    assert json.loads(first["row"]) == ROWS[0]


def test_prompts_without_room_for_an_answer_are_left_out_and_said_or_refused(
    prepared: Callable[..., Any], record: EventWriter
) -> None:
    report, trainer, _ = prepared([*ROWS, LONG], max_cut_share=0.5)
    assert report.rows == len(trainer.train_dataset) == len(ROWS)
    found = map(ev.decode, (record.folder / "events.jsonl").read_bytes().splitlines())
    (notice,) = [one for one in found if isinstance(one, ev.Notice) and one.code == "prompts_left_out"]
    assert str(notice.message).startswith("Prompts left out: 1. Over 96 tokens")
    with pytest.raises(UserError) as caught:
        prepared([*ROWS, LONG, LONG], max_cut_share=0.1)
    assert caught.value.field == "model.max_seq_length"
    assert "2 of 6 prompts" in str(caught.value.message)
    with pytest.raises(UserError) as caught:
        prepared([ROWS[0], LONG])
    assert caught.value.field == "grpo.max_completion_length"
    assert "A step needs 2 prompts" in str(caught.value.message)
