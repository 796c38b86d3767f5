"""What the proof needs of a model: its tokenizer, and the tokens that end its answers. No weights."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig
from unsloth.tokenizer_utils import load_correct_tokenizer

from engine.config.run_spec import ModelSpec
from engine.model.loading import with_eos
from engine.runtime.explain import explain


class Tokenizers:
    """Loads tokenizers, and keeps the last one: most proofs are of one model's data."""

    def __init__(self) -> None:
        self._key: tuple[str, str] | None = None
        self._found: tuple[Any, list[int]] = (None, [])

    def get(self, model: ModelSpec) -> tuple[Any, list[int]]:
        """(the tokenizer as Unsloth corrects it, the tokens that stop the model). Raises `UserError`."""
        key = (model.model_name, model.revision)
        if key != self._key:
            try:
                tokenizer = load_correct_tokenizer(
                    model.model_name, model_max_length=model.max_seq_length, revision=model.revision or None
                )
            except Exception as error:
                raise explain(error, "model.model_name") from error
            self._found, self._key = (tokenizer, stop_ids(model, tokenizer)), key
        return self._found

    def forget(self) -> None:
        """A named template changes the tokenizer it is given: the next proof loads it anew."""
        self._key = None


def stop_ids(model: ModelSpec, tokenizer: Any) -> list[int]:
    """As `engine.model.loading.stop_ids`, but from the files: there is no model here that carries its settings."""
    name, revision = model.model_name, model.revision or "main"
    adapter = Path(name) / "adapter_config.json"
    if adapter.is_file():
        name, revision = json.loads(adapter.read_text()).get("base_model_name_or_path") or name, "main"
    configured: Any = None
    try:
        configured = GenerationConfig.from_pretrained(name, revision=revision).eos_token_id
    except (OSError, ValueError):  # without generation settings, the model's are taken
        with suppress(OSError, ValueError):
            configured = getattr(AutoConfig.from_pretrained(name, revision=revision), "eos_token_id", None)
    return with_eos(tokenizer, configured)
