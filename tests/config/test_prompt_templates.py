"""Filling the prompt templates."""

from __future__ import annotations

from engine.config.prompt_templates import ALPACA, PROMPT_TEMPLATES, before_answer, fill, placeholders


def test_prompt_template_is_filled_in_one_pass():
    assert fill("{instruction}|{input}|{output}|{x}", instruction="{output}", output="b") == "{output}||b|{x}"
    assert placeholders(ALPACA) == {"instruction", "input", "output"}
    assert before_answer("a {output} b") == "a "


def test_every_prompt_template_has_a_question_and_an_answer() -> None:
    assert all({"instruction", "output"} <= placeholders(text) for text in PROMPT_TEMPLATES.values())
