"""The demo data of preferences keeps its promises; nothing here needs torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from engine.config.presets import find_preset
from presets.demo import make_preferences as made

FOLDER = Path(made.__file__).parent
FILES = ("greetings.jsonl", "votes.jsonl", "identity_pairs.jsonl")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def trained() -> set[str]:
    """All prompts in the files."""
    found = {row["prompt"] for row in (*rows("greetings.jsonl"), *rows("votes.jsonl"))}
    return found | {row["chosen"][0]["content"] for row in rows("identity_pairs.jsonl")}


def test_it_comes_from_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "FOLDER", tmp_path)
    made.main()
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_held_out_prompts_are_not_trained_on() -> None:
    for _, held_out in (made.small_talk(), made.identities()):
        prompts = {pair[0] for pair in held_out}
        assert len(prompts) > 15
        assert any(re.search("[\u4e00-\u9fff]", prompt) for prompt in prompts)
        assert any(prompt.isascii() for prompt in prompts)
        assert not prompts & trained()


def test_votes_are_balanced() -> None:
    votes = [row["label"] for row in rows("votes.jsonl")]
    assert sum(votes) * 2 == len(votes)


def test_both_sides_answer_the_same_question() -> None:
    for row in rows("identity_pairs.jsonl"):
        assert row["chosen"][:-1] == row["rejected"][:-1]
        assert row["chosen"][-1] != row["rejected"][-1]
    assert all(row["chosen"] != row["rejected"] for row in rows("greetings.jsonl"))


@pytest.mark.parametrize("method", ["dpo", "orpo", "kto"])
def test_the_preset_shows_the_effect_on_prompts_it_is_not_trained_on(method: str) -> None:
    preset = find_preset(f"demo-{method}")
    assert preset
    assert preset.spec
    assert preset.spec.training.method == method
    assert Path(preset.spec.dataset.path).name in FILES
    assert len(preset.spec.generation.prompts) >= 3
    assert not trained().intersection(map(str, preset.spec.generation.prompts))
