"""One module for each training method, with its class `METHOD`; `engine.config.methods` lists them."""

from importlib import import_module
from typing import Any

from engine.config.methods import METHODS
from engine.config.run_spec import RunSpec
from engine.dataset.detection import PromptFormatName
from engine.dataset.mapping import Kind
from engine.training.method import TrainingMethod


def method_for(
    spec: RunSpec, kind: PromptFormatName, tokenizer: Any, stop_ids: list[int], data_kind: Kind
) -> TrainingMethod:
    """The spec's training method, set up for data of a kind, written in a format. Raises `UserError`."""
    module = import_module(METHODS[spec.training.method].trainer)
    method: TrainingMethod = module.METHOD(spec, kind, tokenizer, stop_ids, data_kind)
    return method
