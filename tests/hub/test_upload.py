"""Pushing to a stub of the Hub with the real huggingface_hub."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from engine.hub import upload
from engine.hub.errors import HubError
from engine.hub.local_files import list_files
from engine.hub.retry import resume_after_resets
from engine.hub.upload import Upload
from engine.hub.upload_errors import explain_push_error
from engine.hub.upload_job import PushJob, UploadProgress, UploadResult
from engine.hub.upload_process import UploadProcess, redact
from engine.protocol.commands import Push
from engine.runs.checksums import write_checksums
from tests.helpers.hub_stub import HubStub

TOKEN = "hf_PlantedTokenNobodyMaySee1234567890"


def safetensors(count: int) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(n * 31 % 251 for n in range(count))


class Pushes:
    """A folder to push, a stub of the Hub, and the reported progress."""

    def __init__(self, hub: HubStub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.progress: list[UploadProgress] = []
        self.log = io.StringIO()
        hub.account(TOKEN)

    def job(self, **settings: Any) -> PushJob:
        given = {"kind": "adapter", "folder": str(self.folder), "repo_id": "ann/mine", "token": TOKEN, "tries": 3}
        return PushJob(**{**given, "card": "---\nlicense: mit\n---\n# Mine\n", **settings})

    def push(self, **settings: Any) -> UploadResult:
        """Push in this process; a separate process takes a second longer."""
        job = self.job(**settings)
        try:
            return Upload(job, self.progress.append).run()
        except Exception as error:
            raise explain_push_error(error, job.repo_id, bool(job.token)) from error

    def refused(self, **settings: Any) -> HubError:
        with pytest.raises(HubError) as error:
            self.push(**settings)
        return error.value

    def is_complete(self) -> bool:
        """Whether the repository has exactly the folder's files and the card."""
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        there = dict(self.hub.repos["model", "ann/mine"].files)
        there.pop(".gitattributes")
        card = there.pop("README.md").decode()
        files.pop("README.md", None)
        return there == files and "# Mine" in card


@pytest.fixture
def pushes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pushes]:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(safetensors(3_000_000))
    (folder / "README.md").write_text("what PEFT writes")
    with HubStub() as hub:
        hub.patch_process(monkeypatch, tmp_path / "hf")
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        monkeypatch.setattr(upload, "FIRST_WAIT", 0.05)
        yield Pushes(hub, folder)


def test_a_push_is_private_complete_and_verified(pushes: Pushes) -> None:
    result = pushes.push()
    repo = pushes.hub.repos["model", "ann/mine"]
    assert repo.private
    assert result.private
    assert result.url == f"{pushes.hub.url}/ann/mine"
    assert result.commit == repo.refs["main"]
    assert pushes.is_complete()
    assert list(dict.fromkeys(one.step for one in pushes.progress)) == [
        "checking",
        "uploading",
        "verifying",
    ]
    assert pushes.progress[-1].done_bytes == pushes.progress[-1].total_bytes == result.total_bytes > 3_000_000
    # Pushing again, by the short name, sends nothing.
    again = UploadProcess(pushes.job(repo_id="mine"), pushes.log).run(pushes.progress.append)
    assert again.repo_id == "ann/mine"
    assert pushes.hub.asked("PUT /lfs/") == 1
    assert len(repo.messages) == 2


@pytest.mark.parametrize(
    ("account", "repo_id", "code", "field", "words"),
    [
        ({"role": "read"}, "ann/mine", "hub_no_write", "token", "The token of ann has no write access to ann/mine"),
        (
            {"role": "fineGrained", "scopes": {"ann": ("repo.content.read",)}},
            "mine",
            "hub_no_write",
            "token",
            "ann",
        ),
        ({"role": "fineGrained", "scopes": {"team": ("repo.write",)}}, "mine", "hub_no_write", "token", "ann"),
        ({}, "bob/mine", "hub_not_owner", "repo_id", "does not belong to bob"),
        ({}, "ann/not a name", "push_bad_name", "repo_id", "not a valid repository name"),
        ({}, "ann/a/b", "push_bad_name", "repo_id", "not a valid repository name"),
    ],
)
def test_the_token_is_checked_before_anything_is_sent(
    pushes: Pushes, account: dict[str, Any], repo_id: str, code: str, field: str, words: str
) -> None:
    pushes.hub.account(TOKEN, **account)
    why = pushes.refused(repo_id=repo_id)
    assert (why.code, why.field) == (code, field)
    assert words in str(why.message)
    assert why.hint
    assert not pushes.hub.repos
    assert pushes.hub.asked("(POST|PUT)") == 0


def test_a_token_with_write_access(pushes: Pushes) -> None:
    pushes.hub.account(TOKEN, orgs=("team",), role="fineGrained", scopes={"team": ("repo.write",)})
    assert pushes.push(repo_id="team/mine").repo_id == "team/mine"


def test_without_a_login_or_with_an_invalid_token(pushes: Pushes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pushes.refused(token="").code == "hub_no_login"
    dead = pushes.refused(token="hf_dead_and_gone_token")
    assert (dead.code, str(dead.message)) == ("hub_bad_token", "The given token is not valid.")
    for token in ("two words", "line\nline", "令牌", "a\x00b"):
        assert pushes.refused(token=token).event_fields() == dead.event_fields()
    assert pushes.push(token=f" {TOKEN}\n").repo_id == "ann/mine"
    monkeypatch.setenv("HF_TOKEN", "hf_dead_and_gone_token")
    assert "The token from HF_TOKEN" in str(pushes.refused(token="").message)
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # the Hub's own login
    assert pushes.push(token="").repo_id == "ann/mine"


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ({"pattern": "GET /api/whoami", "status": 401}, "hub_bad_token", "is not valid"),
        ({"pattern": "POST /api/repos/create", "status": 403}, "hub_no_write", "has no write access to ann/mine"),
        ({"pattern": "POST .*/preupload/", "status": 403}, "hub_no_write", "has no write access to ann/mine"),
        ({"pattern": "POST .*/commit/", "status": 409}, "hub_conflict", "ann/mine was changed"),
        ({"pattern": "PUT /lfs/", "status": 413}, "hub_too_large", "rejects a file of this size"),
        ({"pattern": "POST .*/commit/", "status": 413}, "hub_too_large", "rejects a file of this size"),
        ({"pattern": "GET /api/whoami", "status": 429}, "hub_busy", "no more requests"),
        ({"pattern": "POST .*/commit/", "status": 500}, "hub_down", "server error (500)"),
        ({"pattern": "POST .*/commit/", "drop": 500}, "hub_broke_off", "was lost"),
        ({"pattern": "POST /lfs-verify/", "status": 422}, "hub_mismatch", "differs from what was sent"),
    ],
    ids=lambda value: value["pattern"] + str(value.get("status", "drop")) if isinstance(value, dict) else None,
)
def test_a_failure_is_reported_and_a_later_push_succeeds(
    pushes: Pushes, fault: dict[str, Any], code: str, words: str
) -> None:
    pushes.hub.fail(**fault, times=9)
    before = {path: path.stat().st_mtime_ns for path in pushes.folder.iterdir()}
    why = pushes.refused(tries=1)
    assert why.code == code
    assert {path: path.stat().st_mtime_ns for path in pushes.folder.iterdir()} == before
    assert not list(Path(tempfile.gettempdir()).iterdir())
    assert words in str(why.message)
    assert all("model.safetensors" not in name for repo in pushes.hub.repos.values() for name in repo.files)
    pushes.hub.clear_faults()
    pushes.push(tries=1)
    assert pushes.is_complete()
    assert pushes.hub.asked("PUT /lfs/") <= 2  # what was transferred is not sent again


@pytest.mark.parametrize(
    "fault",
    [
        {"pattern": "GET /api/whoami", "status": 429, "headers": {"Retry-After": "1"}},
        {"pattern": "POST /api/repos/create", "status": 500},
        {"pattern": "POST .*/commit/", "status": 503},
        {"pattern": "POST .*/commit/", "drop": 200},
        {"pattern": "PUT /lfs/", "drop": 1_000_000},
        {"pattern": "PUT /lfs/", "status": 500},
        {"pattern": "GET .*/tree/", "status": 502},
    ],
    ids=lambda fault: fault["pattern"] + str(fault.get("status", "drop")),
)
def test_temporary_errors_are_retried(pushes: Pushes, fault: dict[str, Any]) -> None:
    failure = pushes.hub.fail(**fault)
    pushes.push()
    assert failure.hits == 1
    assert pushes.is_complete()
    if "whoami" in fault["pattern"]:
        assert any(one.waiting >= 1 for one in pushes.progress)


def test_a_retry_after_of_hours_fails_at_once(pushes: Pushes) -> None:
    pushes.hub.fail("GET /api/whoami", status=429, headers={"Retry-After": "7200"})
    started = time.monotonic()
    assert pushes.refused().code == "hub_busy"
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_wrong_hash_is_detected(pushes: Pushes, name: str) -> None:
    pushes.hub.lies_about.add(name)
    why = pushes.refused()
    assert why.code == "hub_mismatch"
    assert name in str(why.message)
    pushes.hub.clear_faults()
    pushes.push(replace=True)
    assert pushes.is_complete()


def test_an_empty_repository_after_the_push_is_detected(pushes: Pushes) -> None:
    pushes.hub.loses_commits = True
    why = pushes.refused()
    assert why.code == "hub_incomplete"
    assert "ann/mine is not complete" in str(why.message)
    pushes.hub.clear_faults()
    pushes.push()
    assert pushes.is_complete()


def test_an_existing_repository_is_not_overwritten(pushes: Pushes) -> None:
    pushes.hub.add("model", "ann/mine", {"config.json": "{}"}, private=True)
    why = pushes.refused()
    assert (why.code, why.field) == ("repo_exists", "repo_id")
    assert set(pushes.hub.repos["model", "ann/mine"].files) == {"config.json"}
    assert pushes.push(replace=True).private
    pushes.hub.add("model", "ann/open", {".gitattributes": ""})
    assert pushes.refused(repo_id="ann/open").code == "repo_public"
    assert not pushes.push(repo_id="ann/open", private=False).private


def test_an_incomplete_folder_is_not_sent(pushes: Pushes) -> None:
    weights = pushes.folder / "adapter_model.safetensors"
    complete = weights.read_bytes()
    weights.write_bytes(complete[:-5])
    assert "is truncated" in str(pushes.refused().message)
    weights.unlink()
    assert "no weights" in str(pushes.refused().message)
    weights.write_bytes(complete)
    (pushes.folder / "adapter_config.json").unlink()
    assert "adapter_config.json is missing" in str(pushes.refused().message)
    assert "no such folder" in str(pushes.refused(folder=str(pushes.folder / "x")).message)
    assert not pushes.hub.requests


def test_a_bad_card_is_rejected_before_the_files_are_sent(pushes: Pushes) -> None:
    why = pushes.refused(card="---\nlicense: mit\nno end")
    assert (why.code, why.field) == ("card_invalid", "card")
    pushes.push()
    assert pushes.is_complete()


def test_a_push_can_be_cancelled_and_resumed(pushes: Pushes) -> None:
    pushes.hub.fail("POST .*/commit/", delay=20)
    runner = UploadProcess(pushes.job(), pushes.log)

    def watch(progress: UploadProgress) -> None:
        if progress.step == "uploading" and not watching.is_alive():
            watching.start()

    def cancel() -> None:
        while not pushes.hub.asked("POST .*/commit/"):
            time.sleep(0.02)
        runner.cancel()

    watching = threading.Thread(target=cancel)
    started = time.monotonic()
    with pytest.raises(HubError) as error:
        runner.run(watch)
    assert error.value.code == "cancelled"
    assert time.monotonic() - started < 15
    assert set(pushes.hub.repos["model", "ann/mine"].files) == {".gitattributes"}
    pushes.hub.clear_faults()
    pushes.push()
    assert pushes.is_complete()
    assert pushes.hub.asked("PUT /lfs/") == 1


def test_the_token_is_never_written(pushes: Pushes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_DEBUG", "1")  # the library logs each request
    monkeypatch.setenv("HF_HUB_VERBOSITY", "debug")
    lines: list[bytes] = []
    environments: list[bytes] = []

    def record_processes(progress: UploadProgress) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                lines.append((folder / "cmdline").read_bytes())
                environments.append((folder / "environ").read_bytes())

    pushes.hub.fail("POST .*/commit/", status=500)
    UploadProcess(pushes.job(), pushes.log).run(record_processes)
    assert any(b"engine.hub" in line for line in lines)
    assert not any(TOKEN.encode() in text for text in lines + environments)
    assert "Send: curl" in pushes.log.getvalue()
    assert TOKEN not in pushes.log.getvalue()
    assert TOKEN not in repr(pushes.job())
    assert TOKEN not in repr(Push(id=1, kind="adapter", repo_id="ann/mine", token=TOKEN))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_tokens_are_redacted() -> None:
    assert redact("Bearer hf_abcdefghijk12345 and secret", "secret") == "Bearer *** and ***"


def test_a_sharded_model_needs_all_shards(pushes: Pushes) -> None:
    for path in pushes.folder.iterdir():
        path.unlink()
    (pushes.folder / "config.json").write_text("{}")
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        (pushes.folder / shard).write_bytes(safetensors(1000))
    index = {"metadata": {}, "weight_map": {"a": shards[0], "b": shards[1]}}
    (pushes.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (pushes.folder / shards[1]).rename(pushes.folder / ".hidden")
    assert f"{shards[1]} is missing" in str(pushes.refused(kind="merged_16bit").message)
    (pushes.folder / ".hidden").rename(pushes.folder / shards[1])
    assert pushes.push(kind="merged_16bit").files == 5
    assert pushes.is_complete()


def test_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "model.Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "Modelfile").write_text("FROM ./model.Q4_K_M.gguf")
    found = list_files("gguf", tmp_path, "# card")
    assert [file.name for file in found] == ["Modelfile", "model.Q4_K_M.gguf", "README.md"]
    write_checksums(tmp_path, lambda *_: None)
    assert len(list_files("gguf", tmp_path, "# card")) == 4
    (tmp_path / "model.Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(99))
    with pytest.raises(HubError, match="is truncated"):
        list_files("gguf", tmp_path, "# card")
    (tmp_path / "model.Q4_K_M.gguf").write_bytes(b"<html>not found</html>" + bytes(100))
    with pytest.raises(HubError, match="not a file of weights"):
        list_files("gguf", tmp_path, "")


def test_the_private_parts_of_huggingface_hub_exist() -> None:
    """No public API: without them progress is coarser, and a reset connection restarts the download."""
    resume_after_resets()
    reporter = import_module("huggingface_hub.utils._xet_progress_reporting").XetUploadProgressReporter
    assert callable(reporter.update_progress)
    assert callable(reporter.close)
