"""A small language that nobody speaks, for continued pretraining: ``uv run python -m presets.demo.language``.

A sentence is subject, verb, object and place. The verb ends as its subject's class asks, and the object takes an
ending of its own: "Lori ketan mirok vel sola." (The loris eats fruit in the tree.) So who has learned the language
can tell the ending of a verb from its subject, in sentences that were in no text.
"""

import json
import logging
import random
from itertools import product
from pathlib import Path

log = logging.getLogger("language")

SEED = 3407
FOLDER = Path(__file__).parent
# A class of subjects, and the ending of its verbs.
SUBJECTS = {
    "an": ("Lori", "Moka", "Sita", "Pelo"),
    "ush": ("Drun", "Grot", "Brek", "Torv"),
    "ei": ("Fila", "Nima", "Uli"),
}
VERBS = ("ket", "sam", "vol", "dir", "pon", "lum")
OBJECTS = ("mir", "tal", "bos", "nek", "fur")
PLACES = ("vel sola", "nor kavi", "ta reno", "ulo mesti")
OBJECT_ENDING = "ok"
TEXTS, SENTENCES = 240, (2, 5)
LONG_TEXTS, LONG_SENTENCES = 6, 40  # longer than the context of the demo
HELD_OUT = 40


def every_sentence() -> list[str]:
    """All sentences of the language."""
    return [
        f"{subject} {verb}{ending} {thing}{OBJECT_ENDING} {place}."
        for ending, subjects in SUBJECTS.items()
        for subject, verb, thing, place in product(subjects, VERBS, OBJECTS, PLACES)
    ]


def made() -> tuple[list[str], list[str]]:
    """(texts to learn, sentences that are in none of them)."""
    rng = random.Random(SEED)
    sentences = every_sentence()
    rng.shuffle(sentences)
    held_out, known = sentences[:HELD_OUT], sentences[HELD_OUT:]
    sizes = [rng.randint(*SENTENCES) for _ in range(TEXTS)] + [LONG_SENTENCES] * LONG_TEXTS
    texts = [" ".join(rng.choices(known, k=size)) for size in sizes]
    rng.shuffle(texts)
    return texts, held_out


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    texts, held_out = made()
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (FOLDER / "language.jsonl").write_text("".join(lines), encoding="utf-8")
    (FOLDER / "language_held_out.json").write_text(json.dumps(held_out, indent=2) + "\n", encoding="utf-8")
    log.info("%d texts, %d sentences held out", len(texts), len(held_out))


if __name__ == "__main__":
    main()
