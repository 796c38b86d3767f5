"""Hub datasets, fetched by the engine's code with the real `datasets` and huggingface_hub over HTTP."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.helpers.hub_stub import HubStub

ROOT = Path(__file__).parents[2]


def jsonl(count: int, width: int = 10) -> str:
    return "".join(json.dumps({"instruction": f"q{n}", "output": "a" * width}) + "\n" for n in range(count))


def parquet(count: int) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"q": [f"q{n}" for n in range(count)]}), file)
    return file.getvalue()


class Fetcher:
    """A process that fetches datasets from a stub of the Hub."""

    def __init__(self, hub: HubStub, home: Path) -> None:
        self.hub = hub
        environment = {**os.environ, **hub.environment(home), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.scripts.fetch_datasets"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(home / "log").open("w"),
            text=True, env=environment, cwd=ROOT,
        )  # fmt: skip

    def __call__(self, path: str, **settings: str) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"path": path, **settings}) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@pytest.fixture(scope="module")
def fetch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetcher]:
    with HubStub() as hub:
        fetcher = Fetcher(hub, tmp_path_factory.mktemp("hf"))
        yield fetcher
        fetcher.process.kill()
        fetcher.process.wait()


def test_a_dataset_by_its_id_split_configuration_and_revision(fetch: Fetcher) -> None:
    files = {"en/train.jsonl": jsonl(30), "en/test.jsonl": jsonl(4), "zh/train.jsonl": jsonl(5)}
    readme = (
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/train.jsonl\n"
        "  - split: test\n    path: en/test.jsonl\n- config_name: zh\n  data_files: zh/*.jsonl\n---\n"
    )
    repo = fetch.hub.add("dataset", "ann/cats", {**files, "README.md": readme})
    assert fetch("ann/cats", name="en")["rows"] == 30
    assert fetch("ann/cats", name="en", split="test")["rows"] == 4
    assert fetch("ann/cats", name="zh", split="train[:2]") == {
        "rows": 2,
        "first": {"instruction": "q0", "output": "a" * 10},
    }
    first = repo.refs["main"]
    repo.commit({**files, "README.md": readme, "zh/train.jsonl": jsonl(9)}, "more")
    assert fetch("ann/cats", name="zh")["rows"] == 9
    assert fetch("ann/cats", name="zh", revision=first)["rows"] == 5
    assert fetch("ann/cats")["code"] == "config_missing"
    assert fetch("ann/cats", name="fr")["field"] == "dataset.name"
    assert fetch("ann/cats", name="zh", split="test")["code"] == "split_missing"
    missing = fetch("ann/cats", name="zh", revision="v9")
    assert missing["code"] in ("hub_no_revision", "hub_not_found")


def test_parquet(fetch: Fetcher) -> None:
    fetch.hub.add("dataset", "ann/table", {"data/train-00000-of-00001.parquet": parquet(50)})
    assert fetch("ann/table") == {"rows": 50, "first": {"q": "q0"}}


@pytest.mark.parametrize(
    ("name", "token", "code", "words"),
    [
        ("ann/nothing", "", "hub_not_found", "private"),
        ("ann/nothing", "hf_other", "hub_not_found", "private"),
        ("ann/shut", "", "hub_not_found", "private"),
        ("ann/shut", "hf_other", "hub_not_found", "private"),
        ("ann/shut", "hf_dead", "hub_bad_token", "The token from HF_TOKEN is not valid"),
        ("ann/gate", "", "hub_no_access", "denies access"),
        ("ann/gate", "hf_other", "hub_no_access", "denies access"),
    ],
)
def test_a_dataset_without_access_is_an_error(fetch: Fetcher, name: str, token: str, code: str, words: str) -> None:
    fetch.hub.account("hf_other", "eve")
    fetch.hub.add("dataset", "ann/shut", {"a.jsonl": jsonl(3)}, private=True)
    fetch.hub.add("dataset", "ann/gate", {"a.jsonl": jsonl(3)}, gated=True)
    found = fetch(name, token=token)
    assert (found.get("code"), found.get("field")) == (code, "dataset.path"), found
    assert words in found["message"]
    assert "hf auth login" in found["hint"] or "Accept its terms" in found["hint"]
    assert not token or token not in json.dumps(found)


def test_the_owner_has_access(fetch: Fetcher) -> None:
    fetch.hub.account("hf_ann", "ann", role="read")
    fetch.hub.add("dataset", "ann/own", {"a.jsonl": jsonl(3)}, private=True)
    fetch.hub.add("dataset", "ann/own-gate", {"a.jsonl": jsonl(4)}, gated=True)
    assert fetch("ann/own", token="hf_ann")["rows"] == 3
    assert fetch("ann/own-gate", token="hf_ann")["rows"] == 4


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("ann/ended", {"drop": 15 << 20}),
        ("ann/reset", {"drop": 15 << 20, "reset": True}),
        ("ann/500", {"status": 500}),
        ("ann/429", {"status": 429}),
        ("ann/slow", {"delay": 4}),
    ],
)
def test_an_interrupted_download_is_resumed(fetch: Fetcher, name: str, fault: dict[str, Any]) -> None:
    content = jsonl(20_000, 1200 if "drop" in fault else 10)
    fetch.hub.add("dataset", name, {"a.jsonl": content})
    before = fetch.hub.bytes_sent
    failure = fetch.hub.fail(f"GET /datasets/{name}/resolve/.*jsonl", **fault)
    assert fetch(name)["rows"] == 20_000
    assert failure.hits == 1
    assert fetch.hub.asked(f"GET /datasets/{name}/resolve/.*jsonl") == 2
    if "drop" in fault:
        # Only the rest was requested: the library keeps what was received, in pieces of 10 MB.
        assert fetch.hub.bytes_sent - before < len(content) + (6 << 20)


@pytest.mark.slow  # the library retries for 25 s
def test_an_unavailable_hub_is_reported(fetch: Fetcher) -> None:
    fetch.hub.add("dataset", "ann/away", {"a.jsonl": jsonl(3)})
    fetch.hub.fail(".*ann/away", status=503, times=99)
    started = time.monotonic()
    found = fetch("ann/away")
    fetch.hub.clear_faults()
    assert found["code"] in ("hub_down", "hub_offline"), found
    assert time.monotonic() - started < 60
    assert fetch("ann/away")["rows"] == 3


def test_the_log_shows_no_token(fetch: Fetcher, tmp_path_factory: pytest.TempPathFactory) -> None:
    for path in tmp_path_factory.getbasetemp().rglob("log"):
        assert "hf_other" not in path.read_text()
        assert "hf_dead" not in path.read_text()
