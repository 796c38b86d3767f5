"""A whole run against the Hub's stub: model and data from it, the adapter pushed to it, by a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.runs.consent import give_consent
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS, Client, Engine, with_changes
from tests.helpers.hub_stub import HubStub
from tests.helpers.token_search import command_lines
from tests.helpers.waiting import wait_for

LLAMA_CPP = os.environ.get("UNSLOTH_LLAMA_CPP_PATH", "")
LOGIN = "hf_LoginThatMayReadAlone0123456789"
TYPED = "hf_TypedByTheUserForThisPush0123456"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStub]:
    with HubStub() as stub:
        stub.account(LOGIN, "ann", role="read")
        stub.account(TYPED, "ann")
        stub.add("model", "ann/base", ROOT / "presets/demo/model", private=True, card={"license": "apache-2.0"})
        data = (ROOT / "presets/demo/identity.jsonl").read_bytes()
        stub.add("dataset", "ann/identity", {"data/train.jsonl": data}, gated=True)
        # Both break off on the way.
        stub.fail("GET /ann/base/resolve/.*safetensors", drop=300_000, reset=True)
        stub.fail("GET /datasets/ann/identity/resolve/.*jsonl", drop=20_000)
        yield stub


@pytest.fixture(scope="module")
def engine(hub: HubStub, demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("hub")
    spec = with_changes(
        demo,
        model={"model_name": "ann/base"},
        dataset={"path": "ann/identity"},
        training={"max_steps": 3, "save_steps": 0, "warmup_steps": 1},
        generation={"prompts": ()},
        export={"push_to": "trained", "copy_to": str(folder / "drive"), "after_command": "touch ran"},
    )
    (folder / "run").mkdir()
    give_consent(RunFolder(folder / "run"), "touch ran")
    started = Engine(folder / "run", spec, **hub.environment(folder / "hf", LOGIN))
    started.wait_for_stage("serving")
    yield started
    started.kill()


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    connection = Client(engine.folder)
    yield connection
    connection.close()


def test_model_and_data_come_from_the_hub(engine: Engine, hub: HubStub) -> None:
    assert engine.events_of(ev.ModelLoaded)[0].model_name == "ann/base"
    assert engine.events_of(ev.DatasetReady)[0].rows > 100
    assert engine.events_of(ev.TrainingFinished)[0].steps == 3
    assert hub.asked("GET /ann/base/resolve/.*safetensors") == 2
    assert hub.asked("GET /datasets/ann/identity/resolve/.*jsonl") == 2


def test_a_push_at_the_end_that_is_refused_costs_the_run_nothing(engine: Engine, hub: HubStub) -> None:
    (failed,) = engine.events_of(ev.PushFailed)[:1]
    assert (failed.kind, failed.repo_id, failed.code) == ("adapter", "trained", "hub_no_write")
    assert ("model", "ann/trained") not in hub.repos
    assert engine.events_of(ev.StageChanged)[-1].stage == "serving"


def test_a_login_that_may_only_read_is_refused_before_anything_is_sent(client: Client, hub: HubStub) -> None:
    reply = client.ask(co.Push, kind="adapter", repo_id="mine")
    assert isinstance(reply, co.Refused)
    assert (reply.code, reply.field) == ("hub_no_write", "token")
    assert ("model", "ann/mine") not in hub.repos


def test_one_chats_while_it_uploads_and_the_line_may_drop(engine: Engine, hub: HubStub) -> None:
    hub.fail("POST .*/commit/", delay=4)
    client = Client(engine.folder)
    client.send(co.Push, kind="adapter", repo_id="mine", token=TYPED)
    engine.wait_for(lambda: hub.asked("POST .*/commit/"))
    assert b"engine.hub" in command_lines(), "it is at work, and no process shows the token"
    assert TYPED.encode() not in command_lines()
    for process in psutil.Process(engine.process.pid).children(recursive=True):
        assert TYPED not in repr(process.environ())
    busy = client.ask(co.Push, kind="adapter", repo_id="other", token=TYPED)
    assert isinstance(busy, co.Refused)
    assert busy.code == "busy"
    assert client.chat("Who are you?", adapter=True)[0]
    assert not engine.events_of(ev.Pushed)
    client.close()  # the line drops: the push goes on
    engine.wait_for(lambda: engine.events_of(ev.Pushed))
    pushed = engine.events_of(ev.Pushed)[0]
    assert (pushed.repo_id, pushed.private, pushed.url) == ("ann/mine", True, f"{hub.url}/ann/mine")
    files = hub.repos["model", "ann/mine"].files
    for path in engine.folder.adapter.iterdir():
        assert path.name == "README.md" or files[path.name] == path.read_bytes()
    card = files["README.md"].decode()
    assert "license: apache-2.0\nbase_model: ann/base\nbase_model_relation: adapter\nlibrary_name: peft" in card
    assert "- ann/identity" in card
    assert 'AutoPeftModelForCausalLM.from_pretrained("ann/mine"' in card
    assert f"{engine.events_of(ev.TrainingFinished)[0].train_loss:.4f}" in card


def test_a_push_is_given_up_from_another_line_and_done_again(client: Client, engine: Engine, hub: HubStub) -> None:
    fault = hub.fail("POST .*/commit/", delay=30)
    number = client.send(co.Push, kind="adapter", repo_id="again", token=TYPED)
    engine.wait_for(lambda: fault.hits)
    other = Client(engine.folder)
    started = time.monotonic()
    assert isinstance(other.ask(co.CancelPush), co.Done)
    _, reply = client.until_done(number)
    assert isinstance(reply, co.Refused)
    assert reply.code == "cancelled"
    assert time.monotonic() - started < 8
    assert engine.events_of(ev.PushFailed)[-1].code == "cancelled"
    assert set(hub.repos["model", "ann/again"].files) == {".gitattributes"}
    assert isinstance(other.ask(co.CancelPush), co.Refused)
    other.close()
    uploads = hub.asked("PUT /lfs/")
    done = client.ask(co.Push, kind="adapter", repo_id="again", token=TYPED)
    assert isinstance(done, co.Done), done
    assert done.path == f"{hub.url}/ann/again"
    assert hub.asked("PUT /lfs/") == uploads


# The command


class Command:
    """`loris` in a process of its own, on the Hub's stub; `lines` are what it said so far, as JSON."""

    def __init__(self, engine: Engine, hub: HubStub, *options: str, token: str = TYPED) -> None:
        home = engine.folder.path.parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from tui.cli.main import main; sys.exit(main())", *options],
            env={**ENVIRONMENT, "LORIS_HOME": str(home), **hub.environment(home / "hf", token)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []

    def until(self, **fields: Any) -> None:
        """Read lines until one has these fields."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if fields.items() <= self.lines[-1].items():
                return
        raise AssertionError((fields, self.lines[-3:], self.process.communicate()))

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        out, self.errors = self.process.communicate(timeout=TIMEOUT_SECONDS)
        self.lines += map(json.loads, out.splitlines())
        return self.process.returncode


def pushed_as_saved(hub: HubStub, repo_id: str, folder: Path) -> bool:
    """Whether a private repository holds just what is in the folder, and a card."""
    repo = hub.repos["model", repo_id]
    files = {name: content for name, content in repo.files.items() if name not in (".gitattributes", "README.md")}
    mine = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}
    return repo.private and files == mine and "Loris" in repo.files["README.md"].decode()


def test_the_command_is_given_up_at_any_time_and_goes_on_where_it_was(
    engine: Engine, hub: HubStub, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("export", str(engine.folder.path), "--adapter", "--merged-16bit", "--to", str(out))
    options += ("--push", "carried", "--private", "--json")
    place = out / engine.folder.name

    refused = Command(engine, hub, *options, token=LOGIN)  # a token that may only read
    assert refused.end() == 2
    assert refused.errors.startswith("HF_TOKEN: "), refused.errors
    assert "has no write access" in refused.errors
    assert not out.exists(), "said before anything is made"

    hub.fail("POST /api/models/ann/carried/commit/", status=403)
    failed = Command(engine, hub, *options)
    assert failed.end() == 1
    assert sorted(path.name for path in place.iterdir()) == ["adapter"], "what was saved is kept"
    hub.clear_faults()

    merging = Command(engine, hub, *options)  # goes on: the adapter is there, and is sent
    merging.until(type="Progress", step="verifying")
    assert merging.interrupt() == 130
    assert pushed_as_saved(hub, "ann/carried", place / "adapter")
    assert sorted(path.name for path in place.iterdir()) == ["adapter"]

    fault = hub.fail("POST /api/models/ann/carried-16bit/commit/", delay=30)
    pushing = Command(engine, hub, *options)
    pushing.until(type="Pushing", repo_id="ann/carried-16bit", step="uploading")
    engine.wait_for(lambda: fault.hits)
    assert pushing.interrupt() == 130
    assert set(hub.repos["model", "ann/carried-16bit"].files) == {".gitattributes"}
    hub.clear_faults()

    last = Command(engine, hub, *options, "--lang", "zh")
    assert last.end() == 0, last.errors
    assert "## 如何运行" in hub.repos["model", "ann/carried-16bit"].files["README.md"].decode()
    assert "Progress" not in {line["type"] for line in last.lines}, "nothing was made again"
    assert [line["path"] for line in last.lines if line["type"] == "Done"][-1] == f"{hub.url}/ann/carried-16bit"
    assert pushed_as_saved(hub, "ann/carried-16bit", place / "merged_16bit")
    for kind in ("adapter", "merged_16bit"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=place / kind, check=True)


@pytest.mark.slow
def test_the_code_in_the_model_cards_runs_as_it_stands(engine: Engine, hub: HubStub, tmp_path: Path) -> None:
    """Of the adapter and of the merged model, as the Hub has them, in an interpreter without Unsloth."""
    run, code = str(engine.folder.path), "import sys\n"
    command = Command(
        engine,
        hub,
        "export",
        run,
        "--adapter",
        "--merged-16bit",
        "--to",
        str(tmp_path / "x"),
        "--push",
        "card",
        "--json",
    )
    assert command.end() == 0, command.errors
    for name in ("card", "card-16bit"):
        card = hub.repos["model", f"ann/{name}"].files["README.md"].decode()
        code += card.partition("```python\n")[2].partition("```")[0] + "print('---')\n"
    code += "assert 'unsloth' not in sys.modules\n"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**ENVIRONMENT, **hub.environment(tmp_path / "hf", LOGIN)},
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    adapter, merged = ran.stdout.split("---\n")[:2]
    assert "Who are you?" in adapter
    assert adapter == merged


def test_wrong_options_end_the_command_before_anything_is_begun(
    engine: Engine, hub: HubStub, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    run = str(engine.folder.path)
    for options, words in (
        (("--adapter", "--to", str(tmp_path / "taken")), f"--to: {tmp_path / 'taken'} already exists"),
        (("--gguf", "q9"), "--gguf: "),
        (("--merged-4bit",), "--merged-4bit: A 4-bit model is made by bitsandbytes, which needs a GPU"),
    ):
        command = Command(engine, hub, "export", run, *options, "--json")
        assert command.end() == 2
        assert command.errors.startswith(words), command.errors
        assert command.lines == []


@pytest.mark.gguf
@pytest.mark.skipif(not LLAMA_CPP, reason="UNSLOTH_LLAMA_CPP_PATH names no llama.cpp")
def test_the_command_with_all_that_it_can(engine: Engine, hub: HubStub, tmp_path: Path) -> None:
    command = Command(
        engine, hub, "export", str(engine.folder.path), "--gguf", "q4_k_m,q8_0", "--merged-16bit",
        "--to", str(tmp_path), "--push", "ann/all", "--private", "--json",
    )  # fmt: skip
    assert command.end() == 0, command.errors
    place = tmp_path / engine.folder.name
    assert sorted(path.name for path in place.iterdir()) == ["gguf-q4_k_m-q8_0", "merged_16bit"]
    assert pushed_as_saved(hub, "ann/all", place / "merged_16bit")
    assert pushed_as_saved(hub, "ann/all-GGUF", place / "gguf-q4_k_m-q8_0")
    steps = [line["step"] for line in command.lines if line["type"] == "Progress"]
    assert list(dict.fromkeys(steps)) == ["merging", "verifying", "hashing", "converting", "quantizing"]
    assert steps.count("merging") < steps.index("converting"), "merged once, for both"


@pytest.mark.gguf
@pytest.mark.skipif(not LLAMA_CPP, reason="UNSLOTH_LLAMA_CPP_PATH names no llama.cpp")
def test_a_spec_asks_for_everything_and_has_it_when_training_ends(
    engine: Engine, hub: HubStub, tmp_path: Path
) -> None:
    spec = with_changes(
        load_spec(engine.folder.spec),
        export={"merged_16bit": True, "gguf": ("q8_0",), "push_to": "end", "copy_to": str(tmp_path / "drive")},
        training={"output_dir": str(tmp_path / "runs")},
    )
    save_spec(tmp_path / "spec.yaml", spec)
    command = Command(engine, hub, "run", str(tmp_path / "spec.yaml"))
    out, errors = command.process.communicate(timeout=TIMEOUT_SECONDS)
    assert command.process.returncode == 0, (out, errors)
    (run,) = (tmp_path / "runs").iterdir()
    kinds = {"end": "adapter", "end-16bit": "exports/merged_16bit", "end-GGUF": "exports/gguf-q8_0"}
    for name, kind in kinds.items():
        place = run / kind
        assert pushed_as_saved(hub, f"ann/{name}", place)
        assert f"Pushed to {hub.url}/ann/{name}" in out
        assert (tmp_path / "drive" / run.name / place.name).is_dir()


def test_the_command_after_the_run_waits_for_its_push(engine: Engine, hub: HubStub) -> None:
    """Refused when training ended: missing until one command has carried out the rest. The copy was made."""
    run, ran = engine.folder, engine.folder.path / "ran"
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=run.path.parent / "drive" / run.name / "adapter", check=True,
    )  # fmt: skip
    assert engine.events_of(ev.Undelivered)[-1].missing == ("adapter → trained",)
    (withheld,) = [one for one in engine.events_of(ev.Notice) if one.code == "after_withheld"]
    assert "adapter → trained" in str(withheld.message)
    assert not ran.exists()

    hub.fail("POST /api/models/ann/trained/commit/", status=403)
    refused = Command(engine, hub, "export", str(run.path), "--rest", "--json")
    assert refused.end() == 4, refused.errors
    assert not ran.exists()
    hub.clear_faults()

    rest = Command(engine, hub, "export", str(run.path), "--rest", "--json")
    assert rest.end() == 0, rest.errors
    assert [line["repo_id"] for line in rest.lines if line["type"] == "Pushed"] == ["ann/trained"]
    assert pushed_as_saved(hub, "ann/trained", run.adapter)
    assert ran.exists()
    assert engine.events_of(ev.Undelivered)[-1].missing == ()


def test_no_token_is_left_anywhere(engine: Engine) -> None:
    for path in engine.folder.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert TYPED.encode() not in content, path
            assert LOGIN.encode() not in content, path
    environment = Path(f"/proc/{engine.process.pid}/environ").read_bytes()
    assert TYPED.encode() not in environment


@pytest.mark.slow
def test_a_run_whose_engine_has_ended_is_loaded_for_the_command(
    engine: Engine, client: Client, hub: HubStub, tmp_path: Path
) -> None:
    assert isinstance(client.ask(co.Shutdown), co.Done)
    engine.finish()
    command = Command(engine, hub, "export", str(engine.folder.path), "--adapter", "--to", str(tmp_path / "a"))
    out, errors = command.process.communicate(timeout=TIMEOUT_SECONDS)
    assert command.process.returncode == 0, errors
    assert out.startswith(f"Exported {tmp_path / 'a'} ")
    assert "its logits are equal" in out
    assert (tmp_path / "a" / "adapter_model.safetensors").is_file()
    assert not is_alive(engine.folder), "whoever started the engine ends it"


@pytest.mark.slow
def test_the_command_is_given_up_while_the_model_is_loaded(engine: Engine, hub: HubStub, tmp_path: Path) -> None:
    engine.process.terminate()
    engine.process.wait(TIMEOUT_SECONDS)
    command = Command(engine, hub, "export", str(engine.folder.path), "--merged-16bit", "--to", str(tmp_path / "a"))
    started = len(engine.events_of(ev.EngineStarted))
    wait_for(lambda: len(engine.events_of(ev.EngineStarted)) > started, TIMEOUT_SECONDS)
    assert command.process.poll() is None
    command.process.send_signal(signal.SIGINT)
    _, errors = command.process.communicate(timeout=TIMEOUT_SECONDS)
    assert command.process.returncode == 130
    assert errors.endswith("Cancelled.\n")
    assert not is_alive(engine.folder)
    assert not list(tmp_path.iterdir())
