"""The chat of a real engine: compared adapters, the raw prompt, the tokens left, and prompts at checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from engine.config.prompt_templates import ALPACA, before_answer, fill
from engine.config.run_spec import GenerationSpec, RunSpec
from engine.config.spec_files import load_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs import manifest
from engine.runs.folder import RunFolder
from tests.helpers.chat_screen import idle
from tests.helpers.engine_process import ENVIRONMENT, ROOT, Client, Engine, with_changes
from tests.helpers.fake_run import CpuMonitor, screen_text
from tests.helpers.waiting import until
from tui.app import LorisApp
from tui.screens.chat import ChatScreen
from tui.screens.live import LiveScreen

QUESTION = (co.ChatMessage("user", "Who are you?"),)


@pytest.fixture(scope="module")
def runs(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """Two engines after a few steps: the first answers its prompts at each checkpoint, the second does not."""
    folder = tmp_path_factory.mktemp("chat")
    short = with_changes(
        demo,
        training={
            "max_steps": 8, "save_steps": 2, "save_total_limit": 9, "logging_steps": 1, "learning_rate": 1e-2,
            "warmup_steps": 0,
        },
    )  # fmt: skip
    with_prompts = with_changes(short, generation={"prompts_at_checkpoints": True, "max_new_tokens": 12})
    first, second = Engine(folder / "prompts", with_prompts), Engine(folder / "plain", short)
    for engine in (first, second):
        engine.wait_for_stage("serving")
    yield first, second
    for engine in (first, second):
        engine.kill()


@pytest.fixture
def client(runs: tuple[Engine, Engine]) -> Iterator[Client]:
    client = Client(runs[0].folder)
    yield client
    client.close()


def test_prompts_at_checkpoints_do_not_change_the_training(runs: tuple[Engine, Engine]) -> None:
    first, second = runs
    answers = [(a.step, a.prompt) for a in first.events_of(ev.Answered) if a.step is not None]
    assert answers == [(step, prompt) for step in (2, 4, 6) for prompt in ("Who are you?", "你是谁？")]
    assert all(a.step is None for a in second.events_of(ev.Answered))
    losses = [[step.loss for step in engine.events_of(ev.Step)] for engine in runs]
    assert len(losses[0]) == 8
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)  # the last bit depends on the tensors' addresses


def test_answers_at_a_checkpoint_are_those_of_its_weights(runs: tuple[Engine, Engine], client: Client) -> None:
    """Loaded later, each checkpoint gives the answer that it gave during training; the answers differ."""
    first, _ = runs
    settings = load_spec(first.folder.spec).generation
    kept = {one.step: one.path for one in manifest.list_checkpoints(first.folder.checkpoints)}
    asked = [a for a in first.events_of(ev.Answered) if a.prompt == "Who are you?"]
    answers = {a.step: a.answer for a in asked if a.step in kept}
    assert sorted(answers) == [2, 4, 6]
    assert len(set(answers.values())) > 1
    for step, answer in answers.items():
        number = client.send(
            co.Generate, messages=QUESTION, adapter=True, generation=settings, other=str(kept[step])
        )
        assert client.until_done(number)[0] == answer


def test_done_reports_the_tokens_used_of_the_context(client: Client) -> None:
    _, done = client.chat("Who are you?", adapter=True)
    assert isinstance(done, co.Done)
    assert 0 < done.prompt_tokens < done.context_tokens
    assert done.context_tokens == 512 or done.context_tokens > done.prompt_tokens + done.tokens


def test_raw_prompt_is_what_the_template_writes(client: Client) -> None:
    generation = GenerationSpec(system_prompt="Be kind.")
    done = client.ask(co.ShowPrompt, messages=QUESTION, generation=generation)
    assert isinstance(done, co.Done)
    assert "Be kind." in done.text
    assert done.text.index("Be kind.") < done.text.index("Who are you?")


def ask(client: Client, other: Path | str = "", adapter: bool = True) -> tuple[str, co.Done | co.Refused]:
    generation = GenerationSpec(temperature=0, max_new_tokens=24)
    number = client.send(co.Generate, messages=QUESTION, adapter=adapter, generation=generation, other=str(other))
    return client.until_done(number)


def test_the_adapter_of_another_run_answers_on_the_same_base(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    own, _ = ask(client)
    base, _ = ask(client, adapter=False)
    theirs, done = ask(client, runs[1].folder.path)
    assert isinstance(done, co.Done), done
    again, _ = ask(client, runs[1].folder.adapter)  # the adapter's folder itself
    assert theirs == again
    assert ask(client)[0] == own, "the run's own adapter answers as before"
    assert ask(client, adapter=False)[0] == base

    # With weights of zero the other adapter answers like the base, so it is the other one that answers.
    zero = scaled(runs[1].folder.adapter, tmp_path / "zero", 0)
    assert ask(client, zero)[0] == base


def test_a_flipped_bit_in_a_compared_adapter_is_told(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runs[1].folder.adapter, copy)
    weights = copy / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    reply = ask(client, copy)[1]
    assert isinstance(reply, co.Refused)
    assert (reply.code, str(copy) in str(reply.message)) == ("adapter_broken", True)


def test_before_training_answers_come_from_the_adapter_that_training_continues_from(
    runs: tuple[Engine, Engine], demo: RunSpec, tmp_path: Path
) -> None:
    """So do the later comparisons, even once that adapter is gone; the bare base answers otherwise."""
    first, _ = runs
    taught = {a.prompt: a.answer for a in first.events_of(ev.Answered) if a.adapter and a.step is None}
    bare = {a.prompt: a.answer for a in first.events_of(ev.Answered) if not a.adapter}
    assert all(taught[prompt] != bare[prompt] for prompt in taught)
    start = tmp_path / "start"
    shutil.copytree(first.folder.adapter, start)
    spec = with_changes(
        load_spec(first.folder.spec),
        model={"model_name": str(start)},
        training={"max_steps": 2, "save_steps": 0, "learning_rate": 1e-2},
        generation={"prompts_at_checkpoints": False},
    )
    engine = Engine(tmp_path / "run", spec)
    try:
        engine.wait_for_stage("serving")
        answers = {a.prompt: a.answer for a in engine.events_of(ev.Answered) if not a.adapter}
        assert answers == taught
        state = read_state(engine.folder.events)
        assert state.continues_adapter
        assert not read_state(first.folder.events).continues_adapter
        shutil.rmtree(start)
        client = Client(engine.folder)
        for prompt, answer in taught.items():
            assert client.chat(prompt, adapter=False, generation=spec.generation)[0] == answer
        after = [a.answer for a in engine.events_of(ev.Answered) if a.adapter]
        told = [client.chat(prompt, adapter=True, generation=spec.generation)[0] for prompt in taught]
        assert told == after, "the trained adapter is in use again"
        client.close()
    finally:
        engine.kill()


def scaled(source: Path, folder: Path, factor: float) -> Path:
    """A copy of an adapter with its weights multiplied: with a large factor, its answers do not end."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(manifest.MANIFEST))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * factor for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    return folder


def test_a_repetitive_answer_is_reported_with_its_cause(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    wild = scaled(runs[1].folder.adapter, tmp_path / "wild", 40)
    generation = GenerationSpec(temperature=0, max_new_tokens=128)
    number = client.send(co.Generate, messages=QUESTION, adapter=True, generation=generation, other=str(wild))
    text, done = client.until_done(number)
    assert isinstance(done, co.Done), done
    assert (done.finish_reason, done.tokens) == ("length", 128), text
    assert done.note is not None, text
    assert "repetition_penalty" in str(done.note) or "another turn by itself" in str(done.note)
    assert client.chat("Who are you?", adapter=True)[1].note is None  # type: ignore[union-attr]


def test_an_endless_answer_is_cancelled_within_tokens(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    wild, max_tokens = scaled(runs[1].folder.adapter, tmp_path / "wild", 40), 460
    generation = GenerationSpec(temperature=0, max_new_tokens=max_tokens)
    number = client.send(co.Generate, messages=QUESTION, adapter=True, generation=generation, other=str(wild))
    assert isinstance(client.receive(), co.Token)
    client.send(co.Cancel, target=number)
    _, done = client.until_done(number)
    assert isinstance(done, co.Done)
    assert done.finish_reason == "cancelled"
    assert done.tokens < max_tokens, "generation ended early"


async def test_the_keys_of_the_chat_on_an_engine(
    runs: tuple[Engine, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop, retry, edit and copy, in a real conversation."""
    monkeypatch.setenv("LORIS_HOME", str(tmp_path))
    monkeypatch.setattr(LiveScreen, "make_monitor", CpuMonitor)
    app = LorisApp(language="en", run=runs[0].folder)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LiveScreen) and app.session.state.stage == "serving")
        # A key stops an endless answer, and the next question is answered at once.
        app.session.other = str(scaled(runs[1].folder.adapter, tmp_path / "wild", 40))
        app.session.generation = GenerationSpec(temperature=0, max_new_tokens=460)
        app.go("chat", "other")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen) and app.focused is not None)
        await pilot.press(*"Who are you?", "enter")
        turns = app.session.turns
        await until(pilot, lambda: bool(turns) and bool(turns[0].answers[1].text))
        await pilot.press("escape")
        await until(pilot, idle(pilot))
        assert turns[0].answers[1].note == "stopped"
        assert turns[0].answers[0].note != "stopped", "it was finished when the other began"
        await pilot.press("ctrl+t")
        assert "Answers: with the adapter " in screen_text(app)

        await pilot.press(*"Hello", "enter")
        await until(pilot, lambda: len(turns) == 2)
        await until(pilot, idle(pilot))
        (first,) = turns[1].answers
        assert first.text
        assert "context" in first.note
        await pilot.press("ctrl+y")
        assert app.clipboard == first.text
        # A retry with another seed adds no turn.
        await pilot.press("ctrl+n")
        await until(pilot, lambda: len(turns) == 2 and turns[1].answers[0] is not first)
        await until(pilot, idle(pilot))
        assert turns[1].answers[0].text == first.text, "greedy, so the seed changes nothing"
        await pilot.press("up")
        await until(pilot, lambda: len(turns) == 1)
        assert app.screen.query_one(Input).value == "Hello"
        await pilot.press(*" you", "enter")
        await until(pilot, lambda: len(turns) == 2)
        await until(pilot, idle(pilot))
        assert turns[1].question == "Hello you"


def test_an_adapter_that_does_not_fit_is_rejected_without_side_effects(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    own, _ = ask(client)
    _, refused = ask(client, tmp_path)
    assert isinstance(refused, co.Refused)
    assert refused.code == "adapter_missing"
    folder = tmp_path / "elsewhere"
    shutil.copytree(runs[1].folder.adapter, folder, ignore=shutil.ignore_patterns(manifest.MANIFEST))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "other/model"}))
    _, refused = ask(client, folder)
    assert isinstance(refused, co.Refused)
    assert refused.code == "adapter_unfit"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"truncated")
    _, refused = ask(client, folder)
    assert isinstance(refused, co.Refused)
    assert refused.code == "adapter_unfit"
    assert ask(client)[0] == own


def test_an_export_after_a_comparison_has_only_the_own_adapter(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    ask(client, runs[1].folder.path)
    done = client.ask(co.Export, kind="adapter", path=str(tmp_path / "exported"))
    assert isinstance(done, co.Done), done
    exported = tmp_path / "exported"
    assert not [path for path in exported.iterdir() if path.name.startswith("other_")]
    own = RunFolder(runs[0].folder.path).adapter / "adapter_model.safetensors"
    assert (exported / "adapter_model.safetensors").read_bytes() == own.read_bytes()


def loris(*arguments: str | Path, home: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """`loris chat` with these arguments."""
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "--lang", "en", "chat", *map(str, arguments)],
        input=typed, capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "LORIS_HOME": str(home)},
    )  # fmt: skip


GREEDY_OPTIONS = ("--sampling", "precise", "--max-new-tokens", "24")


def test_command_answers_once_from_the_running_engine(
    runs: tuple[Engine, Engine], client: Client, tmp_path: Path
) -> None:
    own, _ = ask(client)
    done = loris(runs[0].folder.path, "--prompt", "Who are you?", *GREEDY_OPTIONS, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == own + "\n"
    done = loris(runs[0].folder.path, "--prompt", "Who are you?", "--raw", home=tmp_path)
    assert "Who are you?" in done.stdout
    assert len(done.stdout) > len("Who are you?\n")
    assert runs[0].process.poll() is None, "the command does not end the engine"


def test_command_compares_and_prints_json(runs: tuple[Engine, Engine], client: Client, tmp_path: Path) -> None:
    done = loris(
        runs[0].folder.path, "--prompt", "Who are you?", "--compare", "--json", *GREEDY_OPTIONS, home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    base, adapter = (json.loads(line) for line in done.stdout.splitlines())
    assert (base["answer"], adapter["answer"]) == (ask(client, adapter=False)[0], ask(client)[0])
    assert (base["adapter"], adapter["adapter"]) == (False, True)
    assert 0 < adapter["prompt_tokens"] < adapter["context_tokens"]
    done = loris(
        runs[0].folder.path, "--prompt", "Who are you?", "--with", runs[1].folder.path, "--json", *GREEDY_OPTIONS,
        home=tmp_path,
    )  # fmt: skip
    answers = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
    assert answers == [ask(client)[0], ask(client, runs[1].folder.path)[0]]


def test_command_reads_questions_and_keeps_the_conversation(runs: tuple[Engine, Engine], tmp_path: Path) -> None:
    done = loris(
        runs[0].folder.path, "--json", *GREEDY_OPTIONS, home=tmp_path, typed="Hello\nAnd you?\n/new\nHello\n"
    )
    assert done.returncode == 0, done.stderr
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert second["prompt_tokens"] > first["prompt_tokens"] + first["tokens"] - 1
    assert third["answer"] == first["answer"]


@pytest.mark.slow
def test_a_copied_adapter_uses_its_prompt_format(demo: RunSpec, tmp_path: Path) -> None:
    """Trained with an Alpaca prompt and copied without its run, it still uses that prompt in a new process."""
    data = ROOT / "presets/demo/identity_alpaca.json"
    spec = with_changes(
        demo,
        training={"max_steps": 4, "save_steps": 0, "warmup_steps": 0},
        generation={"prompts": ()},
        dataset={"path": str(data), "prompt_template": ALPACA + "\n"},
    )
    engine = Engine(tmp_path / "home/runs/trained", spec)
    engine.wait_for_stage("serving")
    client = Client(engine.folder)
    own, base = ask(client)[0], ask(client, adapter=False)[0]
    done = client.ask(co.Export, kind="adapter", path=str(tmp_path / "copied"))
    assert isinstance(done, co.Done), done
    client.close()
    engine.kill()
    shutil.rmtree(engine.folder.path)
    home = tmp_path / "elsewhere"
    typed = "Who are you?\n/raw\n/base\n/new\nWho are you?\n"
    done_again = loris(tmp_path / "copied", *GREEDY_OPTIONS, home=home, typed=typed)
    assert done_again.returncode == 0, done_again.stderr
    prompt = fill(before_answer(spec.dataset.prompt_template), instruction="Who are you?")
    assert done_again.stdout == f"{own}\n{prompt}\n{base}\n"
    assert list((home / "runs").iterdir()) == [], "the temporary run is deleted"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "neither a run nor"),
        (["{run}", "--temperature", "9"], "--temperature: "),
        (["{run}", "--prompt", " "], "--prompt: "),
    ],
)
def test_command_reports_what_is_wrong(
    runs: tuple[Engine, Engine], tmp_path: Path, arguments: list[str], words: str
) -> None:
    target, *more = (a.format(run=runs[0].folder.path) for a in arguments)
    done = loris(target, "--prompt", "x", *more, home=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
