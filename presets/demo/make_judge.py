"""Write the demo data of the reward model: ``uv run python -m presets.demo.make_judge``.

An answer in the language of the question is better than the same answer in the other language.
"""

import json
import random
from pathlib import Path
from types import ModuleType

from presets.demo import corpus_en, corpus_zh

SEED = 3407
FOLDER = Path(__file__).parent
KINDS = ("capital", "arithmetic", "fact")
PAIRS_OF_A_KIND = 40


def pairs(rng: random.Random, asked: ModuleType, other: ModuleType) -> list[dict[str, str]]:
    """Questions in one language, each with an answer in it and one of the same kind in the other."""
    return [
        {"prompt": question, "chosen": answer, "rejected": getattr(other, kind)(rng)[1]}
        for kind in KINDS
        for question, answer in (getattr(asked, kind)(rng) for _ in range(PAIRS_OF_A_KIND))
    ]


def judge_rows(rng: random.Random) -> list[dict[str, str]]:
    """Rows in the columns prompt, chosen and rejected."""
    rows = pairs(rng, corpus_en, corpus_zh) + pairs(rng, corpus_zh, corpus_en)
    rng.shuffle(rows)
    return rows


def main() -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in judge_rows(random.Random(SEED)))
    (FOLDER / "judge.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
