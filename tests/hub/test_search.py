"""Searching the Hub and reading its datasets, with the real huggingface_hub over HTTP."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from engine.hub import search
from engine.hub.errors import HubError
from engine.hub.push_target import check_target
from engine.hub.search import describe_dataset, first_rows, license_of, search_datasets, search_models
from tests.helpers.hub_stub import HubStub

TURNS = [{"from": "human", "value": "你好"}, {"from": "gpt", "value": "<b>hi</b>"}]


def jsonl(count: int, width: int = 10) -> str:
    return "".join(json.dumps({"instruction": f"q{n}", "output": "a" * width}) + "\n" for n in range(count))


def parquet(count: int) -> bytes:
    file = io.BytesIO()
    rows = {"conversations": [TURNS] * count, "noise": [f"{n * 7919 % 999983:x}" * 40 for n in range(count)]}
    pyarrow.parquet.write_table(pyarrow.table(rows), file, compression="none", use_dictionary=False)
    return file.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    with HubStub() as stub:
        stub.patch_process(monkeypatch, tmp_path / "hf")
        yield stub


def refused(ask: Any, *arguments: Any) -> HubError:
    with pytest.raises(HubError) as error:
        ask(*arguments)
    return error.value


def test_search_by_name_sorts_by_downloads(hub: HubStub) -> None:
    hub.add("dataset", "someone/alpaca-long-name", {"a.jsonl": jsonl(1)})
    hub.add("dataset", "ann/alpaca", {"a.jsonl": jsonl(1)}, gated=True)
    hub.add("dataset", "bob/secret-alpaca", {"a.jsonl": jsonl(1)}, private=True)
    hub.add("model", "ann/alpaca-model", {"config.json": "{}"})
    found = search_datasets(" ALPACA ", limit=5)
    assert [one.id for one in found] == ["ann/alpaca", "someone/alpaca-long-name"]
    assert (found[0].gated, found[1].gated, found[0].updated) == (True, False, "2026-01-01")
    assert [one.id for one in search_models("alpaca")] == ["ann/alpaca-model"]
    assert search_datasets("nothing like it") == []


def test_a_login_finds_its_private_datasets(hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.account("hf_bob", "bob", role="read")
    hub.add("dataset", "bob/secret", {"a.jsonl": jsonl(3)}, private=True)
    missing = refused(describe_dataset, "bob/secret")
    assert missing.code == "hub_not_found"
    assert "nobody is logged in" in str(missing)
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    assert [one.private for one in search_datasets("secret")] == [True]
    page = describe_dataset("bob/secret")
    assert page.private
    assert first_rows(page).total == 3


@pytest.mark.parametrize(
    ("token", "gated", "code", "words"),
    [
        ("", False, "hub_not_found", "private, and nobody is logged in here"),
        ("hf_other", False, "hub_not_found", "the token from HF_TOKEN may not read it"),
        ("hf_gone", False, "hub_bad_token", "The token from HF_TOKEN is not valid"),
        ("", True, "hub_no_access", "ann/shut is gated, and nobody is logged in"),
        ("hf_other", True, "hub_no_access", "the account of the token from HF_TOKEN has no access"),
    ],
)
def test_no_access_explains_why_and_never_shows_the_token(
    hub: HubStub, monkeypatch: pytest.MonkeyPatch, token: str, gated: bool, code: str, words: str
) -> None:
    hub.account("hf_other", "eve")
    hub.add("dataset", "ann/shut", {"a.jsonl": jsonl(3)}, private=not gated, gated=gated)
    monkeypatch.setenv("HF_TOKEN", token)
    error = refused(lambda: first_rows(describe_dataset("ann/shut")))
    assert (error.code, words in str(error)) == (code, True), str(error)
    assert error.hint
    assert "hf auth login" in str(error.hint) or "Accept its terms" in str(error.hint)
    assert not token or token not in f"{error}{error.hint}"


def test_missing_names_and_revisions(hub: HubStub) -> None:
    repo = hub.add("dataset", "ann/cats", {"a.jsonl": jsonl(3)})
    repo.commit({"a.jsonl": jsonl(9)}, "more")
    assert refused(describe_dataset, "ann/dogs").code == "hub_not_found"
    assert refused(describe_dataset, "not a name!").code == "hub_not_found"
    assert refused(describe_dataset, "ann/cats", "v9").code == "hub_no_revision"
    old = next(iter(repo.trees))
    assert first_rows(describe_dataset("ann/cats", old)).total == 3
    assert first_rows(describe_dataset("ann/cats")).total == 9
    assert "train" in str(refused(first_rows, describe_dataset("ann/cats"), "", "test"))
    assert "default" in str(refused(first_rows, describe_dataset("ann/cats"), "zh"))


def test_configurations_and_splits_by_the_card(hub: HubStub) -> None:
    card = {
        "license": "mit",
        "configs": [
            {"config_name": "en", "data_files": [{"split": "train", "path": "en/*.jsonl"}], "default": True},
            {"config_name": "zh", "data_dir": "zh", "data_files": "*.jsonl"},
        ],
        "dataset_info": [{"config_name": "en", "splits": [{"name": "train", "num_examples": 7}]}],
    }
    hub.add("dataset", "ann/two", {"en/1.jsonl": jsonl(7), "zh/1.jsonl": jsonl(2), "README.md": "x"}, card=card)
    page = describe_dataset("ann/two")
    assert page.license == "mit"
    assert [config.name for config in page.configs] == ["en", "zh"]
    assert page.config() == page.config("en")
    assert page.configs[0].splits[0].rows == 7
    assert page.configs[1].splits[0].files == ("zh/1.jsonl",)
    assert len(first_rows(page, "zh", "train[:5]").rows) == 2


def test_splits_by_file_names_without_a_card(hub: HubStub) -> None:
    names = ["data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl", "dev.jsonl", ".x.json", "a.png"]
    hub.add("dataset", "ann/names", dict.fromkeys(names, jsonl(1)))
    (config,) = describe_dataset("ann/names").configs
    assert [split.name for split in config.splits] == ["train", "validation", "test"]
    hub.add("dataset", "ann/pictures", {"a.png": b"\x89"})
    assert refused(first_rows, describe_dataset("ann/pictures")).code == "hub_no_data"


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("a.jsonl", jsonl(30), {"instruction": "q0", "output": "a" * 10}),
        ("a.jsonl", b"\xef\xbb\xbf" + jsonl(30).encode(), {"instruction": "q0", "output": "a" * 10}),
        ("a.json", json.dumps([{"a": 1}, {"a": 2}], indent=1), {"a": 1}),
        ("a.json", json.dumps({"version": "1", "data": [{"a": "[x"}, {"a": 2}]}), {"a": "[x"}),
        ("a.json", json.dumps({"conversations": TURNS}, indent=1), {"conversations": TURNS}),
        ("a.csv", 'q,a\n"x, ""y""","two\nlines"\n', {"q": 'x, "y"', "a": "two\nlines"}),
        ("a.tsv", "q\ta\n1\t2\n", {"q": "1", "a": "2"}),
        ("a.txt", "one\ntwo\n", {"text": "one"}),
        ("a.jsonl.gz", gzip.compress(jsonl(30).encode()), {"instruction": "q0", "output": "a" * 10}),
        ("a.parquet", parquet(50), None),
    ],
    ids=["jsonl", "bom", "json", "json-key", "json-one", "csv", "tsv", "txt", "gz", "parquet"],
)
def test_the_first_row_of_every_file_type(
    hub: HubStub, name: str, content: str | bytes, first: dict[str, Any] | None
) -> None:
    hub.add("dataset", "ann/kinds", {name: content})
    rows = first_rows(describe_dataset("ann/kinds"), limit=5)
    assert rows.rows[0] == first if first else rows.rows[0]["conversations"] == TURNS
    assert rows.columns == tuple(rows.rows[0])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_large_file_is_not_downloaded(hub: HubStub, name: str) -> None:
    content = jsonl(60_000, 300) if name == "a.jsonl" else parquet(60_000)
    hub.add("dataset", "ann/large", {name: content})
    rows = first_rows(describe_dataset("ann/large"), limit=20)
    assert len(rows.rows) == 20
    assert len(content) > 12_000_000
    assert hub.bytes_sent < 3_000_000  # a few blocks for each column
    assert rows.total == (60_000 if name.endswith("parquet") else None)


def test_unreadable_files(hub: HubStub) -> None:
    hub.add("dataset", "ann/bad", {"a.parquet": b"PAR1 is no table", "b.jsonl": "nonsense\n"})
    assert "not a Parquet file" in str(refused(first_rows, describe_dataset("ann/bad")))
    hub.add("dataset", "ann/worse", {"b.jsonl": "nonsense\n"})
    assert "No row was found" in str(refused(first_rows, describe_dataset("ann/worse")))


def test_a_slow_broken_or_overloaded_hub(hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("dataset", "ann/cats", {"a.jsonl": jsonl(50)})
    for status, code in ((429, "hub_busy"), (503, "hub_down"), (500, "hub_down")):
        hub.fail("GET /api/datasets", status=status)
        error = refused(search_datasets, "cats")
        assert (error.code, error.retryable) == (code, True)
    page = describe_dataset("ann/cats")
    hub.fail("GET .*/resolve/", drop=1000)  # disconnected midway: requested again
    assert len(first_rows(page, limit=50).rows) == 50
    monkeypatch.setattr(search, "TIMEOUT_SECONDS", 0.5)
    hub.fail("GET /api/datasets", delay=3, times=9)
    error = refused(search_datasets, "cats")
    assert (error.code, error.retryable) == ("hub_slow", True)
    hub.stop()
    monkeypatch.setattr(search, "TIMEOUT_SECONDS", 30)
    assert refused(search_datasets, "cats").code == "hub_offline"


def test_the_license_of_a_base_model(hub: HubStub, tmp_path: Path) -> None:
    hub.add("model", "ann/free", {"config.json": "{}"}, card={"license": "apache-2.0"})
    hub.add("model", "ann/bare", {"config.json": "{}"})
    assert license_of("ann/free") == "apache-2.0"
    assert license_of("ann/bare") == license_of("ann/nothing") == license_of(str(tmp_path)) == ""
    (tmp_path / "README.md").write_text("---\ntags: []\nlicense: mit\n---\n")
    assert license_of(str(tmp_path)) == "mit"


def test_the_name_to_push_to_is_looked_at(hub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.account("hf_write", "ann", orgs=("team",))
    hub.account("hf_read", "ann", role="read")
    hub.add("model", "ann/full", {"config.json": "{}", ".gitattributes": ""}, private=True)
    hub.add("model", "ann/empty", {".gitattributes": ""})
    free = check_target("mine", "hf_write")
    assert (free.repo_id, free.user, free.exists, free.source) == ("ann/mine", "ann", False, "")
    assert str(free.message) == "ann/mine is free: it will be created."
    full = check_target("ann/full", "hf_write")
    assert (full.exists, full.private, full.files) == (True, True, 1)
    assert "empty" in str(check_target("ann/empty", "hf_write").message)
    assert not check_target("team/new", "hf_write").exists
    for name, token, code, field in (
        ("bob/x", "hf_write", "hub_not_owner", "repo_id"),
        ("a b", "hf_write", "push_bad_name", "repo_id"),
        ("mine", "hf_read", "hub_no_write", "token"),
        ("mine", "hf_gone", "hub_bad_token", "token"),
        ("mine", "", "hub_no_login", "token"),
    ):
        error = refused(check_target, name, token)
        assert (error.code, error.field) == (code, field)
        assert not token or token not in str(error)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    assert check_target("mine").source == "HF_TOKEN"
    assert hub.asked("(POST|PUT)") == 0
