"""Functions of the user's own, in a process of theirs: whatever they do, the run ends with one clear error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.config.check import build_spec
from engine.messages.errors import UserError
from engine.rewards import AnswerSample, Reward, rewards_for
from engine.runs.consent import allow_rewards
from engine.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("home")
SAMPLES = [AnswerSample("Q", "one", "1", {"level": 3}), AnswerSample("Q", "three", "", {"level": 4})]


def rewards_in(place: Path, code: str, rewards: Sequence[object] = (), timeout: float = 10.0) -> list[Reward]:
    file = place / "mine.py"
    file.write_text(code)
    allow_rewards(file.read_bytes())
    return rewards_of(place, rewards, timeout)


def rewards_of(place: Path, rewards: Sequence[object] = (), timeout: float = 10.0) -> list[Reward]:
    grpo = {"rewards": list(rewards), "rewards_file": str(place / "mine.py"), "rewards_timeout": timeout}
    spec, errors = build_spec({"training": {"method": "grpo"}, "grpo": grpo})
    assert spec, errors
    assert not errors
    return rewards_for(spec, place)


def test_functions_of_one_answer_and_of_lists(tmp_path: Path) -> None:
    code = """
import dataclasses
_secret = 1
def length(completion, row): return len(completion) / row["level"]
def some(completion, answer): return None if not answer else completion == "one"
def trl(prompts, completions, level, **kwargs): return [x + len(kwargs["answer"][0]) for x in level]
def _helper(x): raise ValueError
"""
    found = rewards_in(tmp_path, code)
    assert [(one.name, one.weight) for one in found] == [("length", 1), ("some", 1), ("trl", 1)]
    assert [one.score(SAMPLES) for one in found] == [[1.0, 1.25], [1.0, None], [4.0, 5.0]]
    assert RunFolder(tmp_path).rewards.read_text() == code


def test_entries_choose_functions_weigh_them_and_keep_names_apart(tmp_path: Path) -> None:
    code = "def regex(completion): return 2\ndef other(completion): return 3\n"
    listed = [
        {"check": "regex", "pattern": "o"},
        {"check": "regex", "pattern": "r", "weight": -1},
        {"check": "python", "function": "regex", "weight": 2},
        "python",
    ]
    found = rewards_in(tmp_path, code, listed)
    assert [(one.name, one.weight) for one in found] == [
        ("regex", 1), ("regex_2", -1), ("regex_3", 2), ("other", 1),
    ]  # fmt: skip
    assert [one.score(SAMPLES[:1]) for one in found] == [[1], [0], [2], [3]]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(completion):\n    x = {}\n    return x['a']\n", "mine.py, line 3: f: KeyError: 'a'"),
        ("def f(completion):\n    while True: pass\n", "mine.py: f took longer than 0.5 seconds."),
        ("def f(completions, **k): return [1.0]\n", "mine.py: f returned 1 scores for 2 answers."),
        ("def f(completions, **k): return 1.0\n", "mine.py: f returned 1.0, not a list of numbers."),
        ("def f(completion): return float('nan')\n", "mine.py: f returned nan: a score must be finite."),
        ("def f(completion): return 1e400\n", "mine.py: f returned inf"),
        ("def f(completion): return 'good'\n", "mine.py: f returned 'good', not a number."),
        ("def f(completion): return [1.0]\n", "mine.py: f returned [1.0], not a number."),
        ("def f(completion, wish): return 1\n", "mine.py: f asks for wish; there is: prompt, completion"),
        ("def f(completion): return int(input())\n", "mine.py, line 1: f: EOFError"),  # no standard input
        ("import os\ndef f(completion): os._exit(7)\n", "mine.py: f ended the process, with code 7."),
        ("import sys\ndef f(completion):\n    sys.exit(3)\n", "mine.py, line 3: f: SystemExit: 3"),
        ("import no_such\ndef f(completion): return 1\n", "mine.py, line 1: its import: ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_a_function_that_fails_ends_the_run_with_one_clear_error(tmp_path: Path, code: str, said: str) -> None:
    (found,) = rewards_in(tmp_path, code, timeout=0.5 if "while" in code else 10)
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        found.score(SAMPLES)
    assert said in str(error.value)
    assert error.value.field == "grpo.rewards_file"
    assert error.value.exit_code == 2
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(completion)\n", "mine.py, line 1: this is not Python"),
        ("x = 1\n", "has no function such as"),
        ("def _f(completion): return 1\n", "has no function such as"),
        ("", "has no function such as"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_found_without_running_it(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        rewards_in(tmp_path, code)


def test_an_entry_with_an_unknown_function_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.py has no function g; it has: f"):
        rewards_in(tmp_path, "def f(completion): return 1\n", [{"check": "python", "function": "g"}])


def test_what_a_function_prints_does_not_disturb_its_scores(tmp_path: Path) -> None:
    code = """
import os, sys
def f(completion):
    for _ in range(2000): print("x" * 100)
    os.write(1, b'{"scores":[9.0]}\\n')
    print(sys.stdin.read(), file=sys.stderr)
    return 1
"""
    (found,) = rewards_in(tmp_path, code)
    assert found.score(SAMPLES) == [1.0, 1.0]


def test_a_file_runs_only_as_it_was_allowed(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(completion): return 1\n")
    with pytest.raises(UserError) as refused:
        rewards_of(tmp_path)
    assert refused.value.code == "rewards_not_allowed"
    assert refused.value.field == "grpo.rewards_file"
    assert not RunFolder(tmp_path).rewards.exists()
    allow_rewards(file.read_bytes())
    assert rewards_of(tmp_path)
    file.write_text("def f(completion): return 2\n")  # a changed file asks again
    with pytest.raises(UserError, match="as it is now"):
        rewards_of(tmp_path)


def test_a_resumed_run_uses_its_copy_where_the_file_is_gone(tmp_path: Path) -> None:
    rewards_in(tmp_path, "def f(completion): return 1\n")
    (tmp_path / "mine.py").unlink()
    (found,) = rewards_of(tmp_path)
    assert found.score(SAMPLES[:1]) == [1.0]


def test_the_process_ends_with_its_rewards(tmp_path: Path) -> None:
    import gc

    import psutil

    (found,) = rewards_in(tmp_path, "def f(completion): return 1\n")
    found.score(SAMPLES)
    (worker,) = [one for one in psutil.Process().children() if "engine.rewards.worker" in one.cmdline()]
    del found
    gc.collect()
    worker.wait(10)
