"""Write the prompts of the GRPO demo: ``uv run python -m presets.demo.make_prompts``.

The base model answers most of them in one sentence, and a third in two: that is what a reward can raise.
"""

import json
import random
from pathlib import Path

from presets.demo import corpus_en, corpus_zh
from presets.demo.phrasing import Intent

SEED = 3407
FILE = Path(__file__).parent / "prompts.jsonl"
WHO_ROWS, THANKS_ROWS = 48, 24


def thanks(intents: tuple[Intent, ...], answer: str) -> Intent:
    """The intent whose first answer is this one."""
    return next(intent for intent in intents if intent.answers[0] == answer)


def prompts(rng: random.Random) -> list[str]:
    """Questions who it is, and thanks, in both languages."""
    found: list[str] = []
    for module, answer in ((corpus_en, "You are welcome!"), (corpus_zh, "不客气！")):
        for intent, count in ((module.WHO, WHO_ROWS), (thanks(module.INTENTS, answer), THANKS_ROWS)):
            found += rng.sample(intent.questions, min(count, len(intent.questions)))
    rng.shuffle(found)
    return found


def main() -> None:
    rows = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts(random.Random(SEED))]
    FILE.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
