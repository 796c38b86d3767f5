"""The language of the demo of continued pretraining."""

from __future__ import annotations

import json
from pathlib import Path

from presets.demo import language

FOLDER = Path(language.__file__).parent


def test_the_files_are_those_that_the_script_makes() -> None:
    texts, held_out = language.made()
    lines = (FOLDER / "language.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": text} for text in texts]
    assert json.loads((FOLDER / "language_held_out.json").read_text()) == held_out


def test_no_text_has_a_sentence_that_is_held_out() -> None:
    texts, held_out = language.made()
    assert len(set(held_out)) == language.HELD_OUT
    assert not [sentence for sentence in held_out if any(sentence in text for text in texts)]
