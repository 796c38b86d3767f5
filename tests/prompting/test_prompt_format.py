"""Prompts as the tokenizer reads them."""

from __future__ import annotations

# isort: off
import unsloth  # noqa: F401  first, for it patches the others
# isort: on

from engine.model import loading
from engine.prompting.prompt_format import adds_bos, encode

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_one_beginning_whoever_writes_it(loaded: loading.Loaded) -> None:
    assert adds_bos(loaded.tokenizer)
    bos = loaded.tokenizer.bos_token_id
    assert encode(loaded.tokenizer, "<s>Hi").count(bos) == encode(loaded.tokenizer, "Hi").count(bos) == 1
