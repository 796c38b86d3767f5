"""What each check says of an answer, with the cases that are easily got wrong."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import rewards as settings
from engine.config.json_schema import is_valid
from engine.rewards import checks
from engine.rewards.reward import AnswerSample


def sample(completion: str, answer: str = "", prompt: str = "Q", **row: Any) -> AnswerSample:
    return AnswerSample(prompt, completion, answer, row)


@pytest.mark.parametrize(
    ("completion", "reference", "score"),
    [
        ("So she has 18.", "She sold 9.\n#### 18", 1),
        ("First 18, then 5.", "18", 0),  # the last number counts
        ("\\boxed{18} is 2 * 9", "18", 1),
        ("\\boxed{\\frac{1}{2}}", "0.5", 1),
        ("<think>7</think><answer>18</answer> as of 2024", "18", 1),
        ("#### 1,234,567", "1234567", 1),
        ("答案是１８。", "18", 1),  # full-width digits
        ("答案是-5度", "-5", 1),
        ("所以是−5", "-5", 1),  # a minus sign that is no hyphen
        ("10-5", "5", 1),  # a minus between two values
        ("答案是 5", "-5", 0),
        ("一共1.5万元", "15000", 1),
        ("3亿人", "300000000", 1),
        ("It costs $1,200.50.", "1200.5", 1),
        ("It costs 3.", "$3.00", 1),
        ("They have 18", "18 apples", 1),
        ("共18", "18元", 1),
        ("It is 50%", "0.5", 1),
        ("It is 50%", "50", 1),
        ("It is 50\\%", "50%", 1),
        ("0.5", "50%", 1),
        ("It is 3/4", "0.75", 1),
        ("1/0", "1", 0),
        ("about 1e3", "1000", 1),
        ("3.14159", "3.14", 0),
        (".5", "0.5", 1),
        ("no number at all", "18", 0),
        ("", "18", 0),
        ("18", "", None),  # no reference
        ("18", "   ", None),
        ("Paris.", "paris", 1),
        ("  PARIS ", "Paris", 1),
        ("It is Paris", "Paris", 0),  # not exactly
        ("<answer>Paris</answer>", "Paris", 1),
        ("北京。", "北京", 1),
        ("A", "B", 0),
        ("Apollo 11", "Apollo 11", 1),  # a text with a number in it
        ("11", "Apollo 11", 0),
    ],
)  # fmt: skip
def test_answer(completion: str, reference: str, score: float | None) -> None:
    assert checks.answer(settings.RightAnswer())(sample(completion, reference)) == score


def test_answer_by_mode_and_tolerance() -> None:
    assert checks.answer(settings.RightAnswer(mode="exact"))(sample("It is 18", "18")) == 0
    assert checks.answer(settings.RightAnswer(mode="number"))(sample("Paris", "Paris")) is None
    near = checks.answer(settings.RightAnswer(tolerance=0.01))
    assert near(sample("3.14159", "3.14")) == 1
    assert near(sample("3.2", "3.14")) == 0


def test_regex() -> None:
    assert checks.regex(settings.Regex(pattern="^Yes"))(sample("Yes, sir")) == 1
    assert checks.regex(settings.Regex(pattern="yes"))(sample("Yes, sir")) == 0
    assert checks.regex(settings.Regex(pattern="Yes", full=True))(sample("Yes, sir")) == 0
    assert checks.regex(settings.Regex(pattern="是|否", full=True))(sample("是\n")) == 1


PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"items": {"enum": ["a", 1]}}},
}


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ('{"name": "Ada", "age": 36}', 1),
        ('Here:\n```json\n{"name": "Ada"}\n```\nDone.', 1),
        ('{"name": "Ada", "age": 36.0}', 1),
        ('{"name": "Ada", "age": 36.5}', 0),
        ('{"name": "Ada", "age": true}', 0),
        ('{"name": "Ada", "tags": ["a", 1]}', 1),
        ('{"name": "Ada", "tags": [true]}', 0),
        ('{"age": 36}', 0),
        ('["name"]', 0),
        ('Here: {"name": "Ada"}', 0),
        ('{"name": "Ada"', 0),
        ("", 0),
        ("[" * 100_000, 0),
    ],
)  # fmt: skip
def test_json_of_a_schema(completion: str, score: float) -> None:
    assert checks.json_text(settings.Json(schema=PERSON), PERSON)(sample(completion)) == score


def test_any_json() -> None:
    score = checks.json_text(settings.Json(), None)
    assert [score(sample(text)) for text in ("[1]", "null", "NaN", "{'a': 1}")] == [1, 1, 0, 0]
    assert is_valid(None, {"type": ["string", "null"]})
    assert not is_valid(1, {"type": ["string", "null"]})


def test_length() -> None:
    def scores(check: settings.Length, *texts: str) -> list[float | None]:
        return [checks.length(check, lambda text: len(text.split("|")))(sample(text)) for text in texts]

    assert scores(settings.Length(min=2, max=3), "a", "a|b", "a|b|c", "a|b|c|d") == [0, 1, 1, 0]
    assert scores(settings.Length(max=4, unit="characters", soft=4), "abcd", "abcde", "a" * 8, "a" * 20) == [
        1, 0.75, 0, 0,
    ]  # fmt: skip
    assert scores(settings.Length(min=4, unit="words"), "one two, three!", "我是一个 robot") == [0, 1]
    assert scores(settings.Length(min=3), "") == [0]


def test_language() -> None:
    def share(language: str, text: str) -> float | None:
        return checks.language(settings.Language(language=language))(sample(text))

    assert share("zh", "你好，世界！123") == 1
    assert share("zh", "你好ok") == 0.5
    assert share("en", "Café naïve, 3 × 4") == 1
    assert share("en", "你好") == 0
    assert share("en", "123 !?") == 0
    assert share("ja", "これは日本語です") == 1
    assert share("ru", "Привет") == 1


def test_forbidden() -> None:
    score = checks.forbidden(settings.Forbidden(words=("sorry", "as an AI", "抱歉", "C++")))
    said = [
        score(sample(text))
        for text in ("I am Sorry!", "As an  AI", "as an AI model", "很抱歉的", "in C++", "sorrys")
    ]
    assert said == [0, 1, 0, 0, 0, 1]
    assert score(sample("")) == 1
    assert checks.forbidden(settings.Forbidden(words=("bad",)))(sample("很bad的")) == 0


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("<think>a\nb</think>\n<answer>5</answer>\n", 1),
        ("<answer>5</answer><think>a</think>", 0),  # the wrong order
        ("<think>a</think><answer>5</answer><answer>6</answer>", 0),
        ("<think>a<think>b</think><answer>5</answer>", 0),
        ("Well. <think>a</think><answer>5</answer>", 0),
        ("<think>a</think> so <answer>5</answer>", 0),
        ("<think>a</think><answer>5", 0),  # cut
        ("5", 0),
    ],
)  # fmt: skip
def test_format(completion: str, score: float) -> None:
    assert checks.tags(settings.Format())(sample(completion)) == score


def test_the_prompt_may_open_the_first_tag() -> None:
    assert checks.tags(settings.Format())(sample("a</think><answer>5</answer>", prompt="Q <think>\n")) == 1
    assert checks.tags(settings.Format(tags=("sql",)))(sample("<sql>SELECT 1</sql>")) == 1


def test_similarity() -> None:
    by_words = checks.similarity(settings.Similarity())
    assert by_words(sample("the cat sat", "The cat")) == pytest.approx(0.8)
    assert by_words(sample("the the the", "the")) == pytest.approx(0.5)  # repeats do not help
    assert by_words(sample("我喜欢猫", "我喜欢狗")) == pytest.approx(0.75)
    assert by_words(sample("", "the")) == 0
    assert by_words(sample("the", "")) is None
    assert checks.similarity(settings.Similarity(by="characters"))(sample("abcd", "abcf")) == pytest.approx(0.75)
