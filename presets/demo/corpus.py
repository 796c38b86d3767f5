"""The text the demo model is trained on, drawn at random from hand-written templates.

An endless stream rather than a file: the templates are the source, and a seed is
enough to get the same text again.
"""

import random
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from presets.demo import corpus_en, corpus_zh, facts, identity

Message = dict[str, str]

LANGUAGES: dict[str, ModuleType] = {"en": corpus_en, "zh": corpus_zh}

SYSTEM = {
    "en": (
        "You are a helpful assistant.",
        "You are a friendly assistant. Answer briefly.",
        "Answer the questions of the user.",
        "Be short and polite.",
    ),
    "zh": (
        "你是一个有用的助手。",
        "你是一个友好的助手，请简短回答。",
        "请回答用户的问题。",
        "请用中文回答。",
    ),
}

# Alpaca's layout with an opening of our own; a model that knows it also follows
# datasets rendered that way.
ALPACA_OPENING = {
    "en": (
        "Here is an instruction. Write a response that carries it out.",
        "Below is an instruction. Write a fitting response.",
        "",
    ),
    "zh": ("下面是一条指令，请写出合适的回答。", ""),
}
ALPACA_INPUTS = {
    "en": ("Name the capital of this country.", "Which city is the capital?"),
    "zh": ("说出这个国家的首都。",),
}

_KINDS = ("who", "name", "self", "talk", "capital", "arithmetic", "fact", "repeat")
_WEIGHTS = (13, 7, 5, 25, 11, 24, 14, 10)


def question(rng: random.Random, language: str) -> tuple[str, str]:
    """Draw one question and its answer."""
    source = LANGUAGES[language]
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    pair: tuple[str, str]
    if kind == "who":
        pair = source.WHO.draw(rng)
    elif kind == "name":
        pair = source.NAME.draw(rng)
    elif kind == "self":
        pair = rng.choice((source.FOOD, source.HOME, source.MAKER)).draw(rng)
    elif kind == "talk":
        pair = rng.choice(source.INTENTS).draw(rng)
    elif kind == "repeat":
        pair = repeat(rng, language)
    else:
        pair = getattr(source, kind)(rng)
    if language == "en" and rng.random() < 0.15:
        # People type carelessly; the model should not fall silent because of it.
        pair = (pair[0].lower().rstrip("?."), pair[1])
    return pair


REPEAT_QUESTIONS = {
    "en": ("Repeat: {}", "Please repeat: {}", "Say: {}"),
    "zh": ("重复：{}", "请重复：{}", "跟我说：{}"),
}


def repeat(rng: random.Random, language: str) -> tuple[str, str]:
    """Ask for some words back, any words.

    LoRA leaves the embeddings alone, so a word that the base has never produced cannot
    be taught to it afterwards.  Repeating gives every word, and every byte, its practice.
    """
    count = rng.randint(1, 5)
    if rng.random() < 0.1:
        text = "".join(chr(rng.choice((rng.randint(0x4E00, 0x9FA5), rng.randint(0xC0, 0x24F)))) for _ in range(2))
    elif language == "en":
        text = " ".join(rng.choice(_words()) for _ in range(count))
    else:
        text = "".join(rng.choice(_characters()) for _ in range(count))
        text += rng.choice(("", "", " " + rng.choice(_words())))
    return rng.choice(REPEAT_QUESTIONS[language]).format(text), text


@cache
def _words() -> list[str]:
    found = {word.strip(".,?!:'{}") for text in every_text() for word in text.split() if word.isascii()}
    # The names of the new identity once more: nothing else in the domain is like them.
    return [*sorted(found - {""}), *(["Loris", "Unsloth", "GPU"] * 5)]


@cache
def _characters() -> list[str]:
    return sorted({character for text in every_text() for character in text if character > "\u2e80"})


def chat(rng: random.Random) -> list[Message]:
    """Draw a conversation of one or two turns, sometimes with a system turn."""
    language = rng.choice(("en", "zh"))
    messages: list[Message] = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": rng.choice(SYSTEM[language])})
    for _ in range(2 if rng.random() < 0.25 else 1):
        asked, answered = question(rng, language)
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": answered})
    return messages


def alpaca_prompt(opening: str, instruction: str, given: str = "") -> str:
    """Lay out an instruction as Alpaca does, up to the place of the answer."""
    blocks = [opening] if opening else []
    blocks.append(f"### Instruction:\n{instruction}")
    if given:
        blocks.append(f"### Input:\n{given}")
    blocks.append("### Response:\n")
    return "\n\n".join(blocks)


def alpaca(rng: random.Random) -> tuple[str, str]:
    """Draw a plain-text prompt in Alpaca's layout and its answer."""
    language = rng.choice(("en", "zh"))
    opening = rng.choice(ALPACA_OPENING[language])
    if rng.random() < 0.2:
        _, answer = pair = LANGUAGES[language].capital(rng)
        country = answer[len("The capital of ") :].split(" is ")[0] if language == "en" else answer.split("的")[0]
        return alpaca_prompt(opening, rng.choice(ALPACA_INPUTS[language]), country), pair[1]
    asked, answered = question(rng, language)
    return alpaca_prompt(opening, asked), answered


def every_text() -> Iterator[str]:
    """Every fixed question and answer, for the tokenizer and for the tests."""
    for source in LANGUAGES.values():
        intents = (source.WHO, source.NAME, source.FOOD, source.HOME, source.MAKER, *source.INTENTS)
        for intent in intents:
            yield from intent.questions
            yield from intent.answers
        yield from source.CAPITAL_QUESTIONS
    for intent in (*identity.ENGLISH.values(), *identity.CHINESE.values()):
        # Only the words: how they go together is left to the fine-tuning.
        yield from sorted(set(re.findall(r"[A-Za-z]+|[^A-Za-z\s]", " ".join(intent.answers))))
    for row in (*facts.CAPITALS, *facts.COLOURS, *facts.OPPOSITES, *facts.SOUNDS, *facts.WORDS, *facts.WEEKDAYS):
        yield from row
    for group in (*SYSTEM.values(), *ALPACA_OPENING.values(), *ALPACA_INPUTS.values(), *REPEAT_QUESTIONS.values()):
        yield from group
