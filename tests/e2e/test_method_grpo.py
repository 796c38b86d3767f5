"""GRPO by the real engine: it trains as a plain script does, learns what is rewarded, and says when nothing is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from engine.config.check import build_spec
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from presets.demo import corpus_en, corpus_zh
from presets.demo.phrasing import Intent
from tests.helpers.engine_process import ROOT, Client, Engine, with_changes
from tests.helpers.script_process import json_lines, outputs, start
from tests.helpers.short_run import run_to_end

STEPS = 20
# Questions whose answers the demo model begins alike, and goes on with a second sentence in a third of the cases.
INTENTS = [
    next(intent for intent in module.INTENTS if intent.answers[0] == thanks)
    for module, thanks in ((corpus_en, "You are welcome!"), (corpus_zh, "不客气！"))
] + [corpus_en.WHO, corpus_zh.WHO]
HELD_OUT = 3  # of each
METRICS = (
    "reward", "reward_std", "frac_reward_zero_std", "rewards/answer/mean", "completions/mean_length",
    "completions/clipped_ratio", "entropy", "clip_ratio/region_mean",
)  # fmt: skip


def drawn(intent: Intent, count: int) -> list[str]:
    return random.Random(3407).sample(intent.questions, min(count, len(intent.questions)))


def rows(shuffled: bool = False) -> list[dict[str, str]]:
    """Questions with their longer answers; `shuffled`: with those of other questions."""
    kinds = INTENTS[1:] + INTENTS[:1] if shuffled else INTENTS
    found = [
        {"prompt": question, "answer": answers.answers[1]}
        for intent, answers in zip(INTENTS, kinds, strict=True)
        for question in drawn(intent, 24)[HELD_OUT:]
    ]
    random.Random(3407).shuffle(found)
    return found


def spec_for(data: Path, **training: Any) -> RunSpec:
    spec, errors = build_spec(
        {
            "model": {"model_name": str(ROOT / "presets/demo/model"), "max_seq_length": 256},
            "dataset": {"path": str(data)},
            "training": {
                "method": "grpo", "max_steps": STEPS, "learning_rate": 2e-3, "warmup_steps": 2, "logging_steps": 1,
                "per_device_train_batch_size": 16, "save_steps": 10, "dataset_num_proc": 1, **training,
            },
            "grpo": {"num_generations": 8, "max_completion_length": 32, "rewards": ["answer"]},
            "generation": {
                "temperature": 0.0, "max_new_tokens": 32,
                "prompts": [question for intent in INTENTS for question in drawn(intent, 24)[:HELD_OUT]],
            },
        }
    )  # fmt: skip
    assert spec, errors
    return spec


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A folder with a spec for each run."""
    place = tmp_path_factory.mktemp("grpo")
    for name, made in (("data", rows()), ("shuffled", rows(shuffled=True))):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        (place / f"{name}.jsonl").write_text("".join(lines))
    true, shuffled = spec_for(place / "data.jsonl"), spec_for(place / "shuffled.jsonl", max_steps=10)
    specs = {
        "true": true,
        "shuffled": shuffled,
        "cut": with_changes(
            true, grpo={"max_completion_length": 3}, generation={"prompts": ()}, training={"max_steps": 6}
        ),
    }
    found = {}
    for name, spec in specs.items():
        found[name] = RunFolder(place / name)
        found[name].path.mkdir()
        save_spec(found[name].spec, spec)
    return found


@pytest.fixture(scope="module")
def plain(runs: dict[str, RunFolder]) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """(logs, answers) of the plain script; `runs` are trained by Loris meanwhile."""
    place = runs["true"].path.parent
    loris = start("train_with_loris.py", place, [folder.path for folder in runs.values()])
    script = start("grpo_without_loris.py", place, [runs["true"].spec])
    logs, written = json_lines(outputs(loris, script)[1])
    return logs, written


def events_of(folder: RunFolder, kind: type[Any]) -> list[Any]:
    found = map(ev.decode, folder.events.read_bytes().splitlines())
    return [event for event in found if isinstance(event, kind)]


@pytest.mark.slow
def test_losses_and_metrics_equal_those_of_a_plain_script(
    runs: dict[str, RunFolder], plain: tuple[list[dict[str, Any]], list[list[Any]]]
) -> None:
    logs, mine = plain[0], events_of(runs["true"], ev.Step)
    assert len(mine) == len(logs) == STEPS
    assert len({step.loss for step in mine}) > STEPS // 2, "most steps learn something"
    for step, log in zip(mine, logs, strict=True):
        assert step.metrics
        found = {"loss": step.loss, "grad_norm": step.grad_norm, **{key: step.metrics[key] for key in METRICS}}
        assert found == pytest.approx({key: log[key] for key in found}, abs=1e-5)


@pytest.mark.slow
def test_the_answers_are_those_of_the_plain_script(
    runs: dict[str, RunFolder], plain: tuple[list[dict[str, Any]], list[list[Any]]]
) -> None:
    shown = [event for event in events_of(runs["true"], ev.Completions) if event.step]  # 0 is the trial
    assert len(shown) >= 3
    for event in shown:
        prompts, _, texts = plain[1][event.step - 1]
        assert 1 <= len(event.answers) <= 4
        for one in event.answers:
            assert (one.prompt, one.answer) in zip(prompts, texts, strict=True)
            assert one.scores == {"answer": one.reward}
            assert not one.cut


def rewarded(folder: RunFolder, trained: bool) -> float:
    """The share of held-out questions that are answered as it is rewarded, before or after training."""
    wanted = {question: intent.answers[1] for intent in INTENTS for question in drawn(intent, 24)[:HELD_OUT]}
    answers = [one for one in events_of(folder, ev.Answered) if one.adapter is trained]
    assert len(answers) == len(wanted)
    return sum(one.answer == wanted[one.prompt] for one in answers) / len(wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_held_out_prompts_are_answered_as_rewarded_but_not_with_shuffled_references(
    runs: dict[str, RunFolder],
) -> None:
    before, after = rewarded(runs["true"], False), rewarded(runs["true"], True)
    assert before <= 0.4
    assert after >= before + 0.4
    assert rewarded(runs["shuffled"], True) <= before + 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_rewards_without_spread_and_answers_that_are_all_cut_are_told_within_10_steps(
    runs: dict[str, RunFolder],
) -> None:
    told = {
        name: [str(one.message) for one in read_state(folder.events).notices if one.code == "nothing_learned_yet"]
        for name, folder in runs.items()
    }
    assert len(told["shuffled"]) == 1
    assert "had the same reward" in told["shuffled"][0]
    assert any("every answer was cut" in text for text in told["cut"])
    assert told["true"] == []
    for name in ("shuffled", "cut"):
        notice = next(one for one in events_of(runs[name], ev.Notice) if one.code == "nothing_learned_yet")
        assert len([step for step in events_of(runs[name], ev.Step) if step.time < notice.time]) <= 10
    assert all(one.cut for event in events_of(runs["cut"], ev.Completions) for one in event.answers)


def weights(folder: RunFolder) -> dict[str, Any]:
    return dict(load_file(folder.adapter / "adapter_model.safetensors"))


def assert_same_training(one: RunFolder, other: RunFolder) -> None:
    """The same losses, metrics and weights; a resumed run repeats steps."""
    once, again = ({step.step: step for step in events_of(folder, ev.Step)} for folder in (one, other))
    assert list(once) == sorted(again)
    for number, step in once.items():
        assert again[number].loss == pytest.approx(step.loss, abs=1e-6)
        assert again[number].metrics == pytest.approx(step.metrics, abs=1e-6)
    mine, theirs = weights(one), weights(other)
    assert set(mine) == set(theirs)
    assert max(float(abs(mine[name] - theirs[name]).max()) for name in mine) < 1e-6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("plain")
def test_killed_in_a_step_and_resumed_it_repeats_a_straight_run(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    spec = load_spec(runs["true"].spec)
    killed = run_to_end(tmp_path / "run", spec, "--exit", LORIS_FAULT="kill@14", TORCHDYNAMO_DISABLE="1")
    assert killed.process.returncode == -9
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit", TORCHDYNAMO_DISABLE="1")
    assert later.finish() == 0
    assert [one.step for one in later.events_of(ev.Resumed)] == [10]
    assert_same_training(runs["true"], later.folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stop_while_answers_are_written_undoes_the_step_and_a_resume_repeats_it(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()))
    # So hot that no answer ends by itself: writing them takes nearly all of a step.
    spec = with_changes(
        spec_for(data, max_steps=2, warmup_steps=0, save_steps=0, per_device_train_batch_size=8),
        generation={"prompts": ()},
        grpo={
            "max_completion_length": 96, "temperature": 5.0,
            "rewards": ('{"check": "similarity", "by": "characters"}',),
        },
    )  # fmt: skip
    straight = run_to_end(tmp_path / "straight", spec, "--exit")
    assert straight.finish() == 0
    engine = Engine(tmp_path / "run", spec, "--exit")
    try:
        engine.wait_for(lambda: engine.events_of(ev.Step))
        assert isinstance(Client(engine.folder).ask(co.Stop), co.Done)
        assert engine.finish() == 0
    finally:
        engine.kill()
    assert [one.step for one in engine.events_of(ev.Step)] == [1]
    assert [one.step for one in engine.events_of(ev.CheckpointSaved)] == [1]
    (finished,) = engine.events_of(ev.TrainingFinished)
    assert (finished.outcome, finished.steps) == ("stopped", 1)
    later = run_to_end(tmp_path / "run", None, "--resume", "--exit")
    assert later.finish() == 0
    assert_same_training(straight.folder, later.folder)
