"""Tries the rewards of a spec with a loaded model, before there is a training."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import msgspec

from engine.config.run_spec import RunSpec
from engine.messages.message import Message
from engine.model import loading
from engine.protocol import events as ev
from engine.rewards import trial
from engine.runtime.event_writer import EventWriter
from engine.training.prepare import prepare

MOST_ROWS = 4 * trial.PROMPTS  # some may be left out, or have the same prompt


def try_spec(
    loaded: loading.Loaded, spec: RunSpec, record: EventWriter, cancelled: Callable[[], bool]
) -> Message | None:
    """As `try_rewards`, with rows of the spec's dataset. Raises `UserError`."""
    dataset = msgspec.structs.replace(spec.dataset, sample_rows=MOST_ROWS, test_size=0, eval_path="", eval_split="")
    few = msgspec.structs.replace(spec, dataset=dataset)
    # A copy: the chat template of the spec may change before the training.
    data = prepare(few, deepcopy(loaded.tokenizer), loading.stop_ids(loaded), Silent(record))
    return trial.try_rewards(
        replace(loaded, tokenizer=data.method.tokenizer), spec, rows_of(data.train), record, cancelled
    )


def rows_of(rows: Any) -> list[dict[str, str]]:
    """The first rows of a dataset."""
    return list(rows.select(range(min(MOST_ROWS, len(rows)))))


class Silent(EventWriter):
    """Reports nothing: what is left out of a few rows says nothing about the dataset."""

    def __init__(self, record: EventWriter) -> None:
        self.folder, self.stage = record.folder, record.stage

    def emit(self, event: ev.AnyEvent) -> None:
        pass
