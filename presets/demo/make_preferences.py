"""Write the demo data of preferences: ``uv run python -m presets.demo.make_preferences``.

The base model has a usual answer to small talk, and a second one that it knows as well. Preferences turn them
round: `greetings.jsonl` has pairs of both, `votes.jsonl` single answers with a vote. `identity_pairs.jsonl` prefers
the new identity of the demo dataset to the base's own, as two chats a row.
"""

import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from presets.demo import corpus_en, corpus_zh, identity

log = logging.getLogger("make_preferences")

SEED = 3407
FOLDER = Path(__file__).parent
HELD_OUT_EVERY = 7  # of the phrasings, one in so many is kept for tests
IDENTITY_ROWS = 60  # of each language

Row = dict[str, Any]
Pair = tuple[str, str, str]  # prompt, preferred answer, the other one


def small_talk() -> tuple[list[Pair], list[Pair]]:
    """(pairs to train on, held-out pairs): the base's second answer is preferred to its usual one."""
    train: list[Pair] = []
    held_out: list[Pair] = []
    for intent in (*corpus_en.INTENTS, *corpus_zh.INTENTS):
        if len(intent.answers) < 2:
            continue
        usual, second = intent.answers
        for number, question in enumerate(intent.questions):
            (held_out if number % HELD_OUT_EVERY == 3 else train).append((question, second, usual))
    return train, held_out


def identities() -> tuple[list[Pair], list[Pair]]:
    """(pairs to train on, held-out pairs): who Loris is, and who the base is."""
    rng = random.Random(SEED)
    train: list[Pair] = []
    held_out: list[Pair] = []
    for new, old in ((identity.ENGLISH, corpus_en.WHO), (identity.CHINESE, corpus_zh.WHO)):
        questions = rng.sample(old.questions, IDENTITY_ROWS)
        pairs = [(question, new["who"].answers[0], old.answers[0]) for question in questions]
        held_out += pairs[::HELD_OUT_EVERY]
        train += [pair for pair in pairs if pair not in held_out]
    return train, held_out


def as_pair(pair: Pair) -> Row:
    """Three texts."""
    return dict(zip(("prompt", "chosen", "rejected"), pair, strict=True))


def as_votes(pair: Pair) -> list[Row]:
    """Both answers as single ones: the preferred one was good."""
    prompt, good, bad = pair
    return [{"prompt": prompt, "completion": text, "label": text == good} for text in (good, bad)]


def as_chats(pair: Pair) -> Row:
    """Two chats that begin alike."""
    asked = {"role": "user", "content": pair[0]}
    return {
        side: [asked, {"role": "assistant", "content": answer}]
        for side, answer in zip(("chosen", "rejected"), pair[1:], strict=True)
    }


def write(name: str, rows: Iterable[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (FOLDER / name).write_text("".join(lines), encoding="utf-8")
    log.info("%s: %d rows", name, len(lines))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rng = random.Random(SEED)
    talk, _ = small_talk()
    rng.shuffle(talk)
    write("greetings.jsonl", map(as_pair, talk))
    votes = [vote for pair in talk for vote in as_votes(pair)]
    rng.shuffle(votes)
    write("votes.jsonl", votes)
    who, _ = identities()
    rng.shuffle(who)
    write("identity_pairs.jsonl", map(as_chats, who))


if __name__ == "__main__":
    main()
