"""Encoding of prompts."""

from __future__ import annotations

# isort: off
import unsloth  # noqa: F401  first, because it patches the others
# isort: on

from engine.model import loading
from engine.prompting.prompt_format import adds_bos, encode

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_prompt_has_one_bos_token(loaded: loading.Loaded) -> None:
    assert adds_bos(loaded.tokenizer)
    bos = loaded.tokenizer.bos_token_id
    assert encode(loaded.tokenizer, "<s>Hi").count(bos) == encode(loaded.tokenizer, "Hi").count(bos) == 1
