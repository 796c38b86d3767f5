"""`loris rewards` and the consent to reward functions: output and exit codes; with a scripted engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from engine.client.connection import CommandRefused
from engine.config.spec_files import load_spec
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.protocol.commands import Done
from engine.runs.consent import allow_rewards
from tui.cli import rewards
from tui.cli.main import main
from tui.text.rewards import end_of

pytestmark = pytest.mark.usefixtures("home")


def scored(number: int, text: str, score: float, cut: bool = False) -> ev.ScoredAnswer:
    scores = {"answer": score, "format": None}
    return ev.ScoredAnswer(prompt=f"What is {number}?", answer=text, scores=scores, reward=score, cut=cut)


ANSWERS = scored(1, "one [red]\x1b[0m", 1.0), scored(1, "two", 0.0, cut=True), scored(2, "x", 0.5)
TRIAL = ev.Completions(step=0, answers=ANSWERS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{"prompt": f"What is {n}?", "answer": str(n)} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = Path(__file__).parents[2] / "presets/demo/model"
    path = tmp_path / "spec.yaml"
    path.write_text(
        f"model: {{model_name: {model}, load_in_4bit: false, use_cpu: true}}\n"
        f"dataset: {{path: {tmp_path}/rows.jsonl}}\n"
        "training: {method: grpo}\n"
        "grpo:\n  rewards: [answer, format]\n"
    )
    return path


def engine_that(monkeypatch: pytest.MonkeyPatch, answer: Done | Exception) -> list[Any]:
    """A scripted engine; returns the commands that it was sent."""
    asked: list[Any] = []

    async def ask(command: Any) -> Done:
        asked.append(command)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def catch_up() -> None:
        pass

    @asynccontextmanager
    async def serving(*_: Any, **__: Any) -> AsyncIterator[tuple[Any, Any]]:
        client = SimpleNamespace(state=SimpleNamespace(trial=TRIAL), catch_up=catch_up)
        yield SimpleNamespace(ask=ask), client

    monkeypatch.setattr(rewards, "serving", serving)
    return asked


def done(note: Message | None = None) -> Done:
    return Done(id=1, note=note)


def test_answers_and_scores_are_a_table(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = engine_that(monkeypatch, done())
    assert main(["rewards", str(file)]) == 0
    assert asked[0].spec == load_spec(file)
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert lines[0] == ["Prompts", "and", "answers", "answer", "format", "sum"]
    assert lines[2] == ["one", "[red]␛[0m", "1", "–", "1"]  # neither markup nor an escape sequence of the model's
    assert lines[3] == ["~", "two", "0", "–", "0"]
    assert "for 1 of 2 prompts" in printed


def test_nothing_to_learn_is_exit_code_2(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine_that(monkeypatch, done(say("Nothing can be learned: it is too easy.")))
    assert main(["rewards", str(file), "--json"]) == 2
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["nothing_learned"] == "Nothing can be learned: it is too easy."
    assert found["rewards"] == ["answer", "format"]
    assert found["answers"][1] == msgspec.to_builtins(ANSWERS[1])
    assert "too easy" in printed.err


def test_a_refusal_is_named_at_its_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine_that(monkeypatch, CommandRefused("rewards_file", say("mine.py: f raised."), field="grpo.rewards"))
    assert main(["rewards", str(file)]) == 2
    assert f"{file}:5: grpo.rewards: mine.py: f raised." in capsys.readouterr().err


def test_another_method_has_no_rewards(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().split("grpo:\n")[0].replace("grpo", "sft"))
    assert main(["rewards", str(file)]) == 2
    assert "training.method: Only GRPO has rewards" in capsys.readouterr().err


def test_functions_run_only_once_they_are_allowed(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = engine_that(monkeypatch, done())
    mine = file.parent / "mine.py"
    mine.write_text("def f(completion): return 1\n")
    file.write_text(file.read_text() + "  rewards_file: ./mine.py\n")
    for command in ("rewards", "run"):
        assert main([command, str(file)]) == 2
        said = capsys.readouterr().err
        assert f"{file}:6: grpo.rewards_file: {mine} would run with your rights" in said
    assert not asked
    assert main(["rewards", str(file), "--allow-rewards"]) == 0
    assert main(["rewards", str(file)]) == 0
    mine.write_text("def f(completion): return 2\n")
    assert main(["rewards", str(file)]) == 2
    allow_rewards(mine.read_bytes())
    assert main(["rewards", str(file)]) == 0


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ("rewards: []", "grpo.rewards", "Say what a good answer is"),
        ("rewards: [anser]", "grpo.rewards", "#1 anser: there is no such check. Did you mean answer?"),
        ("rewards: [{check: regex, pattern: '('}]", "grpo.rewards", "#1 regex: the pattern is not a regular"),
        ("rewards: [{check: answer, weight: 0}]", "grpo.rewards", "#1 answer: its weight must not be 0"),
        ("rewards: [{check: json, schema: {type: obj}}]", "grpo.rewards", "#1 json: schema.type must be one of"),
        ("rewards: [{check: json, schema_file: ./no.json}]", "grpo.rewards", "#1 json: there is no file"),
        ("rewards: [{check: reward_model, path: ./no}]", "grpo.rewards", "#1 reward_model: there is no trained"),
        ("rewards: [python]", "grpo.rewards_file", "The check python needs a file"),
        ("rewards_file: ./no.py", "grpo.rewards_file", "There is no file"),
        ("rewards_file: ./torn.py", "grpo.rewards_file", "torn.py, line 2: this is not Python"),
        ("rewards_file: ./empty.py", "grpo.rewards_file", "has no function such as"),
        ("{rewards: [answer], rewards_timeout: 0}", "grpo.rewards_timeout", "Give a number above 0"),
        ("{rewards: [answer], num_generations: 3}", "grpo.num_generations", "not a multiple of 3"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_one_sentence_at_its_field_before_anything_is_loaded(
    file: Path, capsys: pytest.CaptureFixture[str], change: str, field: str, said: str
) -> None:
    (file.parent / "torn.py").write_text("x = 1\ndef f(\n")
    (file.parent / "empty.py").write_text("x = 1\n")
    grpo = f"grpo: {change}\n" if change.startswith("{") else f"grpo:\n  {change}\n"
    file.write_text(file.read_text().split("grpo:\n")[0] + grpo)
    assert main(["run", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f": {field}: " in line
    assert said in line


def test_the_end_of_a_prompt_fits_its_column() -> None:
    assert end_of("What\nis 1?", 20) == "What is 1?"
    assert end_of("system: you are. What is 1?", 11) == "…What is 1?"
    assert end_of("你是谁？" * 9, 9) == "…你是谁？"
