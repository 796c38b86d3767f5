"""Pushing to the Hub's stub with the real huggingface_hub, in a process of its own as the engine does."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.push.job import Progress, PushFailed, PushJob, Result
from engine.push.runner import Runner
from tests.hub_stub import HubStub

TOKEN = "hf_PlantedTokenNobodyMaySee1234567890"


def safetensors(count: int) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(n * 31 % 251 for n in range(count))


class Pushes:
    """A folder to push, a Hub to push it to, and what came of it."""

    def __init__(self, hub: HubStub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.said: list[Progress] = []
        self.log = io.StringIO()
        hub.account(TOKEN)

    def job(self, **settings: Any) -> PushJob:
        given = {"kind": "adapter", "folder": str(self.folder), "repo_id": "ann/mine", "token": TOKEN, "tries": 3}
        return PushJob(**{**given, "card": "---\nlicense: mit\n---\n# Mine\n", **settings})

    def push(self, **settings: Any) -> Result:
        return Runner(self.job(**settings), self.log).run(self.said.append)

    def refused(self, **settings: Any) -> PushFailed:
        with pytest.raises(PushFailed) as error:
            self.push(**settings)
        return error.value

    def is_whole(self) -> bool:
        """Whether the repository has just what is in the folder, and the card."""
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
        for name, value in hub.environment(tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        yield Pushes(hub, folder)


def test_a_push_is_private_whole_and_compared(pushes: Pushes) -> None:
    result = pushes.push()
    repo = pushes.hub.repos["model", "ann/mine"]
    assert repo.private
    assert result.private
    assert result.url == f"{pushes.hub.url}/ann/mine"
    assert result.commit == repo.refs["main"]
    assert pushes.is_whole()
    assert list(dict.fromkeys(one.step for one in pushes.said)) == [
        "checking",
        "uploading",
        "verifying",
    ]
    assert pushes.said[-1].done_bytes == pushes.said[-1].total_bytes == result.total_bytes > 3_000_000
    again = pushes.push(repo_id="mine")  # the same once more, by its short name: nothing is sent
    assert again.repo_id == "ann/mine"
    assert pushes.hub.asked("PUT /lfs/") == 1
    assert len(repo.messages) == 2
