"""A whole run against the Hub's stub: model and data from it, the adapter pushed to it, by a real engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.spec import commands as co
from engine.spec import events as ev
from engine.spec.run import RunSpec
from tests.engine.process import ROOT, Client, Engine, changed
from tests.hub_stub import HubStub

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
    spec = changed(
        demo,
        model={"model_name": "ann/base"},
        dataset={"path": "ann/identity"},
        training={"max_steps": 3, "save_steps": 0, "warmup_steps": 1},
        generation={"prompts": ()},
    )
    folder = tmp_path_factory.mktemp("hub")
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
    assert engine.of(ev.ModelLoaded)[0].model_name == "ann/base"
    assert engine.of(ev.DatasetReady)[0].rows > 100
    assert engine.of(ev.TrainingFinished)[0].steps == 3
    assert hub.asked("GET /ann/base/resolve/.*safetensors") == 2
    assert hub.asked("GET /datasets/ann/identity/resolve/.*jsonl") == 2


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
    busy = client.ask(co.Push, kind="adapter", repo_id="other", token=TYPED)
    assert isinstance(busy, co.Refused)
    assert busy.code == "busy"
    assert client.chat("Who are you?", adapter=True)[0]
    assert not engine.of(ev.Pushed)
    client.close()  # the line drops: the push goes on
    engine.wait_for(lambda: engine.of(ev.Pushed))
    pushed = engine.of(ev.Pushed)[0]
    assert (pushed.repo_id, pushed.private, pushed.url) == ("ann/mine", True, f"{hub.url}/ann/mine")
    files = hub.repos["model", "ann/mine"].files
    for path in engine.folder.adapter.iterdir():
        assert path.name == "README.md" or files[path.name] == path.read_bytes()
    card = files["README.md"].decode()
    assert "license: apache-2.0\nbase_model: ann/base\nbase_model_relation: adapter\nlibrary_name: peft" in card
    assert "- ann/identity" in card
    assert 'AutoPeftModelForCausalLM.from_pretrained("ann/mine"' in card
    assert f"{engine.of(ev.TrainingFinished)[0].train_loss:.4f}" in card


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
    assert engine.of(ev.PushFailed)[-1].code == "cancelled"
    assert set(hub.repos["model", "ann/again"].files) == {".gitattributes"}
    assert isinstance(other.ask(co.CancelPush), co.Refused)
    other.close()
    uploads = hub.asked("PUT /lfs/")
    done = client.ask(co.Push, kind="adapter", repo_id="again", token=TYPED)
    assert isinstance(done, co.Done), done
    assert done.path == f"{hub.url}/ann/again"
    assert hub.asked("PUT /lfs/") == uploads


def test_no_token_is_left_anywhere(engine: Engine) -> None:
    for path in engine.folder.path.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            content = path.read_bytes()
            assert TYPED.encode() not in content, path
            assert LOGIN.encode() not in content, path
    environment = Path(f"/proc/{engine.process.pid}/environ").read_bytes()
    assert TYPED.encode() not in environment
