"""Encoding of prompts."""

from __future__ import annotations

# isort: off
import unsloth  # noqa: F401  first, because it patches the others
# isort: on

from engine.config.prompt_templates import ALPACA, before_answer, fill
from engine.config.prompts import Prompt, as_turn
from engine.model import loading
from engine.prompting.prompt_format import PromptFormat, adds_bos, encode

pytest_plugins = ["tests.helpers.proof_fixtures"]


def test_a_prompt_has_one_bos_token(loaded: loading.Loaded) -> None:
    assert adds_bos(loaded.tokenizer)
    bos = loaded.tokenizer.bos_token_id
    assert encode(loaded.tokenizer, "<s>Hi").count(bos) == encode(loaded.tokenizer, "Hi").count(bos) == 1


def test_an_instruction_with_an_input_is_asked_as_it_was_trained(loaded: loading.Loaded) -> None:
    asked = [as_turn(Prompt("Continue the fibonacci sequence.", "1, 1, 2, 3, 5, 8"))]
    joined = "Continue the fibonacci sequence.\n\n1, 1, 2, 3, 5, 8"
    filled = fill(before_answer(ALPACA), instruction="Continue the fibonacci sequence.", input="1, 1, 2, 3, 5, 8")
    assert PromptFormat("alpaca", ALPACA).prompt(None, asked) == filled
    assert PromptFormat("plain").prompt(None, asked, "Hi.") == f"Hi.\n\n{joined}"
    assert PromptFormat("messages").prompt(loaded.tokenizer, asked) == PromptFormat("messages").prompt(
        loaded.tokenizer, [{"role": "user", "content": joined}]
    )


def test_a_system_text_is_asked_as_it_was_trained(loaded: loading.Loaded) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    folded = PromptFormat("messages", as_text=("system",)).prompt(loaded.tokenizer, asked, "Be brief.")
    assert folded == PromptFormat("messages").prompt(
        loaded.tokenizer, [{"role": "user", "content": "Be brief.\n\nHi"}]
    )
    template = "{system}\n\n" + ALPACA
    assert PromptFormat("alpaca", template).prompt(None, asked, "Be brief.").startswith("Be brief.\n\nBelow")
