"""Filling the prompt templates."""

from __future__ import annotations

from engine.config.prompt_templates import ALPACA, PROMPT_TEMPLATES, before_answer, fill, placeholders, with_names
from engine.config.run_spec import DatasetSpec


def test_prompt_template_is_filled_in_one_pass():
    assert fill("{instruction}|{input}|{output}|{x}", instruction="{output}", output="b") == "{output}||b|{x}"
    assert placeholders(ALPACA) == {"instruction", "input", "output"}
    assert before_answer("a {output} b") == "a "


def test_every_prompt_template_has_a_question_and_an_answer() -> None:
    assert all({"instruction", "output"} <= placeholders(text) for text in PROMPT_TEMPLATES.values())


def test_the_notebooks_prompt_texts_with_braces_in_order_are_understood() -> None:
    notebook = ALPACA
    for name in ("instruction", "input", "output"):
        notebook = notebook.replace(f"{{{name}}}", "{}")
    assert DatasetSpec(prompt_template=notebook).prompt_template == ALPACA
    assert with_names("### Q: {}\n### A: {}") == "### Q: {instruction}\n### A: {output}"
    assert with_names("{{json}} {} {}") == "{json} {instruction} {output}"
    assert with_names("{instruction} {} {} {output}") == "{instruction} {} {} {output}"
    assert with_names("{} alone") == "{} alone"


def test_a_prompt_template_with_a_system_text_is_short_without_one() -> None:
    template = "{system}\n\n### Q: {instruction}\n### A: {output}"
    assert fill(template, system="S", instruction="a", output="b") == "S\n\n### Q: a\n### A: b"
    assert fill(template, instruction="a", output="b") == "### Q: a\n### A: b"
