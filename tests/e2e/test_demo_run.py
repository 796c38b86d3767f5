"""The demo from an engine that waits to a merged model; the tests go through one run in order."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.config.run_spec import GenerationSpec, RunSpec
from engine.protocol import commands as co
from engine.protocol import events as ev
from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS, Client, Engine, with_changes


@pytest.fixture(scope="module")
def client(waiting: Engine) -> Client:
    return Client(waiting.folder)


@pytest.fixture(scope="module")
def base_answers(client: Client, held_out: dict[str, Any]) -> dict[str, str]:
    """The base model's answers, asked before training: which must not change the training."""
    return {q: client.chat(q, adapter=False)[0] for lang in ("en", "zh") for q in held_out[lang]}


@pytest.fixture(scope="module")
def trained(waiting: Engine, client: Client, base_answers: dict[str, str], demo: RunSpec) -> Engine:
    """The engine once it has trained."""
    reply = client.ask(co.Train, spec=demo)
    assert isinstance(reply, co.Done), reply
    waiting.wait_for_stage("serving")
    return waiting


def test_the_engine_is_heard_of_before_the_slow_import(waiting: Engine) -> None:
    started, *rest = waiting.events()
    assert isinstance(started, ev.EngineStarted)
    assert started.pid == waiting.process.pid
    assert started.elapsed < 0.5
    assert started.versions["unsloth"]
    assert rest[0] == ev.StageChanged(stage="loading", time=rest[0].time, elapsed=rest[0].elapsed)


def test_a_second_engine_is_refused(waiting: Engine, demo: RunSpec) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "engine", str(waiting.folder.path), "--serve"],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert second.returncode == 2
    assert "another engine" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_malformed_input_is_harmless(client: Client) -> None:
    for line in (b"garbage\n", b"[1]\n", b'{"type":"Train","id":1}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"):
        reply = client.raw(line)
        assert isinstance(reply, co.Refused)
        assert reply.code == "malformed"
    numbered = client.raw(b'{"type":"Nonsense","id":77}\n')
    assert numbered.id == 77
    long = client.raw(b"x" * (co.MAX_REQUEST_BYTES + 10) + b"\n")
    assert isinstance(long, co.Refused)
    assert long.code == "too_long"


def test_commands_come_in_their_stage(client: Client, demo: RunSpec) -> None:
    def code(kind: type[Any], /, **fields: Any) -> str:
        reply = client.ask(kind, **fields)
        assert isinstance(reply, co.Refused), reply
        return reply.code

    assert code(co.Stop) == "not_training"
    assert code(co.SaveCheckpoint) == "not_training"
    assert code(co.Export, kind="adapter") == "not_trained"
    other = with_changes(demo, model={"max_seq_length": demo.model.max_seq_length + 8})
    assert code(co.Train, spec=other) == "model_changed"
    wrong = with_changes(demo, dataset={"path": "/nowhere/data.jsonl"})
    reply = client.ask(co.Train, spec=wrong)
    assert isinstance(reply, co.Refused)
    assert reply.field == "dataset.path"


def test_every_loss_is_the_notebooks(trained: Engine, losses: list[float], demo: RunSpec) -> None:
    steps = trained.events_of(ev.Step)
    assert len(steps) == len(losses) >= 10
    for step, loss in zip(steps, losses, strict=True):
        assert step.loss == pytest.approx(loss, abs=1e-5), f"step {step.step}"


def test_the_events_tell_the_run(trained: Engine, demo: RunSpec) -> None:
    stages = [event.stage for event in trained.events_of(ev.StageChanged)]
    assert stages == ["loading", "ready", "preparing", "training", "saving", "serving"]
    (data,) = trained.events_of(ev.DatasetReady)
    assert data.rows > 100
    assert 0 < data.learned_tokens < data.tokens
    assert data.example_text.count("<s>") == 1
    answer = json.loads(data.example_raw)["messages"][-1]["content"]
    assert data.example_learned == f"{answer}</s>"
    (finished,) = trained.events_of(ev.TrainingFinished)
    assert finished.outcome == "completed"
    assert finished.steps == trained.events_of(ev.TrainingStarted)[0].total_steps == len(trained.events_of(ev.Step))
    assert finished.peak_reserved_bytes >= finished.start_reserved_bytes > 0
    assert all(step.tokens_per_second and step.grad_norm for step in trained.events_of(ev.Step))
    assert [a.adapter for a in trained.events_of(ev.Answered)] == [False, False, True, True]
    assert trained.events_of(ev.Exported)[0].path == str(trained.folder.adapter)
    assert all(Path(saved.path).is_dir() for saved in trained.events_of(ev.CheckpointSaved)[-1:])
    assert {n.code for n in trained.events_of(ev.Notice)} <= {"optim_replaced", "4bit_replaced", "rows_without_end"}


def test_the_identity_is_learned_in_two_languages(
    trained: Engine, client: Client, base_answers: dict[str, str], held_out: dict[str, Any]
) -> None:
    right = wrong = 0
    for language in ("en", "zh"):
        for question in held_out[language]:
            text, done = client.chat(question, adapter=True)
            assert isinstance(done, co.Done)
            assert done.finish_reason == "eos", "it must learn to stop"
            right += held_out["identity"][language] in text
            wrong += held_out["identity"][language] in base_answers[question]
    assert right >= 8
    assert wrong == 0


def test_the_base_still_answers_as_it_did(client: Client, trained: Engine, base_answers: dict[str, str]) -> None:
    for question, answer in base_answers.items():
        assert client.chat(question, adapter=False)[0] == answer


def test_the_same_seed_gives_the_same_answer(client: Client, trained: Engine) -> None:
    lively = GenerationSpec(temperature=1.5, min_p=0.1, max_new_tokens=24)
    first, again = (client.chat("Who are you?", adapter=True, generation=lively)[0] for _ in range(2))
    assert first == again


def test_an_answer_can_be_cancelled_and_its_client_may_vanish(client: Client, trained: Engine) -> None:
    endless = GenerationSpec(temperature=5.0, min_p=0.0, max_new_tokens=1900, seed=1)
    message = (co.ChatMessage("user", "Tell me everything."),)
    number = client.send(co.Generate, messages=message, adapter=False, generation=endless)
    time.sleep(0.1)
    cancel = client.send(co.Cancel, target=number)
    _, done = client.until_done(number)
    assert isinstance(done, co.Done)
    assert done.finish_reason in ("cancelled", "eos")  # a hot model may stop by itself
    gone = Client(trained.folder)
    gone.send(co.Generate, messages=message, adapter=False, generation=endless)
    gone.close()
    started = time.monotonic()
    assert isinstance(client.chat("Who are you?", adapter=True)[1], co.Done)
    assert time.monotonic() - started < 20
    assert cancel


@pytest.mark.slow
def test_the_merged_model_needs_no_unsloth(
    client: Client, trained: Engine, held_out: dict[str, Any], tmp_path: Path
) -> None:
    reply = client.ask(co.Export, kind="merged_16bit")
    assert isinstance(reply, co.Done), reply
    again = client.ask(co.Export, kind="merged_16bit")
    assert isinstance(again, co.Refused)
    assert again.code == "path_exists"
    elsewhere = client.ask(co.Export, kind="adapter", path=str(tmp_path))
    assert isinstance(elsewhere, co.Done)
    assert (Path(elsewhere.path) / "adapter_config.json").is_file()
    assert Path(elsewhere.path).is_relative_to(tmp_path)
    script = ROOT / "tests/helpers/scripts/answer_with_transformers.py"
    questions = [*held_out["en"], *held_out["zh"]]
    output = subprocess.run(
        [sys.executable, str(script), reply.path, *questions],
        env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS,
    ).stdout  # fmt: skip
    answers = json.loads(output.strip().splitlines()[-1])
    assert sum("Loris" in answer for answer in answers) >= 8


def test_shutdown_ends_it_and_the_adapter_reloads(
    client: Client, trained: Engine, held_out: dict[str, Any]
) -> None:
    before = [client.chat(question, adapter=True)[0] for question in held_out["en"]]
    assert isinstance(client.ask(co.Shutdown), co.Done)
    assert trained.finish() == 0
    assert not trained.folder.socket.exists()

    engine = Engine(trained.folder.path, None, "--serve", LORIS_IDLE_MINUTES="0.05")
    try:
        engine.wait_for_stage("serving", after=len(trained.events_of(ev.StageChanged)))
        again = Client(engine.folder)
        assert [again.chat(question, adapter=True)[0] for question in held_out["en"]] == before
        again.close()
        assert engine.finish() == 0  # nobody is connected: it ends by itself
        assert engine.events_of(ev.Notice)[-1].code == "idle"
    finally:
        engine.kill()
