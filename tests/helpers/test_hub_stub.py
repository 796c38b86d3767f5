"""The Hub's stub against the real huggingface_hub, on which other tests rely."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.hub_stub import HubStub

SCRIPT = """
import pathlib, sys
from huggingface_hub import HfApi
api, folder = HfApi(), pathlib.Path(sys.argv[1])
folder.mkdir()
(folder / "a.safetensors").write_bytes(bytes(200_000))
(folder / "README.md").write_text("---\\nlicense: mit\\n---\\n")
print([one.id for one in api.list_datasets(search="CAT")], api.whoami()["name"])
api.create_repo("ann/new", private=True)
api.upload_folder(repo_id="ann/new", folder_path=folder)
print(pathlib.Path(api.hf_hub_download("ann/new", "a.safetensors")).stat().st_size)
"""


def test_it_is_searched_uploaded_to_and_downloaded_from(tmp_path: Path) -> None:
    with HubStub() as hub:
        hub.account("hf_w")
        hub.add("dataset", "ann/cats", {"data.jsonl": "{}\n"})
        hub.add("dataset", "bob/cats", {"data.jsonl": "{}\n"}, private=True)
        hub.fail("PUT /lfs/", drop=5000)
        hub.fail("GET /ann/new/resolve/", drop=30_000)
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "up")],
            env={**os.environ, **hub.environment(tmp_path / "home", "hf_w")},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert found.stdout.splitlines() == ["['ann/cats'] ann", "200000"], found.stderr
        assert hub.repos["model", "ann/new"].private
        assert hub.asked("PUT /lfs/") == 2
        assert hub.asked("GET /ann/new/resolve/") == 2  # the second only for the remaining bytes
        assert hub.bytes_sent < 300_000
