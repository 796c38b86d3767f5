"""Write the demo dataset: ``uv run python -m presets.demo.make_data``.

Four rows in ten teach the new identity; the others repeat what the base already
knows, so that learning a name does not cost it its sums.
"""

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from presets.demo import corpus_en, corpus_zh, identity
from presets.demo.phrasing import Intent

log = logging.getLogger("make_data")

SEED = 3407
FOLDER = Path(__file__).parent
IDENTITY_ROWS = {"who": 24, "name": 10, "food": 6, "home": 6, "maker": 6}
OLD_ROWS = {"capital": 10, "arithmetic": 14, "fact": 16}
TWO_TURN_ROWS = 6

Pair = tuple[str, str]


def identity_pairs(rng: random.Random, intents: dict[str, Intent], share: float = 1.0) -> list[Pair]:
    """Draw distinct phrasings about the new identity, so many of each topic."""
    pairs: list[Pair] = []
    for topic, count in IDENTITY_ROWS.items():
        known = list(intents[topic].pairs())
        pairs += rng.sample(known, min(len(known), round(count * share)))
    return pairs


def old_pairs(rng: random.Random, source: ModuleType, share: float = 1.0) -> list[Pair]:
    """Draw distinct questions the base already answers, with its own answers."""
    pairs: dict[str, str] = {}
    for kind, count in OLD_ROWS.items():
        wanted = len(pairs) + round(count * share)
        while len(pairs) < wanted:
            question, answer = getattr(source, kind)(rng)
            pairs[question] = answer
    # All of the small talk where there is room: what is not repeated frays first.
    for intent in rng.sample(source.INTENTS, round(len(source.INTENTS) * share)):
        pairs.update([rng.choice(list(intent.pairs()))])
    return list(pairs.items())


def chat_rows(rng: random.Random) -> list[dict[str, object]]:
    """Conversations in the ``messages`` layout, some of them of two turns."""
    conversations: list[list[Pair]] = []
    for intents, source in ((identity.ENGLISH, corpus_en), (identity.CHINESE, corpus_zh)):
        new, old = identity_pairs(rng, intents), old_pairs(rng, source)
        conversations += [[pair] for pair in (*new, *old)]
        for _ in range(TWO_TURN_ROWS):
            turns = [rng.choice(new), rng.choice(old)]
            rng.shuffle(turns)
            conversations.append(turns)
    rng.shuffle(conversations)
    return [{"messages": _messages(turns)} for turns in conversations]


def _messages(turns: Iterable[Pair]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def alpaca_rows(rng: random.Random) -> list[dict[str, str]]:
    """The same knowledge as instruction, input and output."""
    pairs: list[Pair] = []
    for intents, source in ((identity.ENGLISH, corpus_en), (identity.CHINESE, corpus_zh)):
        pairs += identity_pairs(rng, intents, share=0.5) + old_pairs(rng, source, share=0.3)
    rows = [{"instruction": question, "input": "", "output": answer} for question, answer in pairs]
    rows += [
        {"instruction": "Answer the question.", "input": "Who are you?", "output": identity.ME_EN},
        {"instruction": "Answer the question.", "input": "What is 2 + 3?", "output": "2 + 3 = 5."},
        {"instruction": "回答问题。", "input": "你是谁？", "output": identity.ME_ZH},
        {"instruction": "回答问题。", "input": "2 加 3 等于几？", "output": "2 + 3 = 5。"},
    ]
    rng.shuffle(rows)
    return rows


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rng = random.Random(SEED)
    chats, tasks = chat_rows(rng), alpaca_rows(rng)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in chats)
    (FOLDER / "identity.jsonl").write_text("".join(lines), encoding="utf-8")
    text = json.dumps(tasks, ensure_ascii=False, indent=2) + "\n"
    (FOLDER / "identity_alpaca.json").write_text(text, encoding="utf-8")
    log.info("%d chat rows, %d Alpaca rows", len(chats), len(tasks))


if __name__ == "__main__":
    main()
