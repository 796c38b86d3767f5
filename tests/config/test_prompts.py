"""Test prompts with an input of their own, in specs and in forms."""

from __future__ import annotations

import msgspec

from engine.config.check import build_spec
from engine.config.prompt_templates import ALPACA
from engine.config.prompts import Prompt, as_turn, fill_question, label
from engine.config.spec_files import to_values

FIBONACCI = {"instruction": "Continue the fibonacci sequence.", "input": "1, 1, 2, 3, 5, 8"}


def test_a_prompt_of_the_spec_is_a_text_or_an_instruction_with_an_input() -> None:
    spec, errors = build_spec({"generation": {"prompts": ["Who are you?", FIBONACCI]}})
    assert spec, errors
    assert spec.generation.prompts == ("Who are you?", Prompt(**FIBONACCI))
    assert to_values(spec)["generation"]["prompts"] == ("Who are you?", FIBONACCI)
    assert msgspec.convert(to_values(spec), type(spec)) == spec


def test_a_form_shows_and_reads_it_as_one_line() -> None:
    line = str(Prompt(**FIBONACCI))
    spec, _ = build_spec({"generation": {"prompts": [line, "{plain braces}"]}})
    assert spec
    assert spec.generation.prompts == (Prompt(**FIBONACCI), "{plain braces}")
    assert label(spec.generation.prompts[0]) == "Continue the fibonacci sequence. | 1, 1, 2, 3, 5, 8"


def test_other_keys_are_an_error_of_the_field() -> None:
    spec, errors = build_spec({"generation": {"prompts": [{"question": "Who?"}]}})
    assert spec is None
    assert [error.field for error in errors] == ["generation.prompts"]


def test_the_input_fills_its_place_or_follows_the_question() -> None:
    assert as_turn(Prompt(**FIBONACCI)) == {
        "role": "user",
        "content": FIBONACCI["instruction"],
        "input": FIBONACCI["input"],
    }
    assert fill_question(ALPACA, "Add.", "1, 2") == {"instruction": "Add.", "input": "1, 2"}
    assert fill_question("{instruction} {output}", "Add.", "1, 2") == {"instruction": "Add.\n\n1, 2"}
    assert fill_question(ALPACA, "Hi", placeholder="input", instruction="Reply.") == {
        "instruction": "Reply.",
        "input": "Hi",
    }
