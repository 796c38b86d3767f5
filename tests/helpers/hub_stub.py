"""A local stub of the Hub, which the real `huggingface_hub` and `datasets` use through HF_ENDPOINT.

It keeps repositories with revisions in memory, checks tokens as the Hub does, and can inject faults::

    with HubStub() as hub:
        hub.add("dataset", "ann/cats", {"data.jsonl": b'{"text": "meow"}'})
        hub.fail("GET .*/resolve/", status=500, times=2)
        run(command, env={**os.environ, **hub.environment(tmp_path)})

Xet, the Hub's own storage protocol, is not supported: `environment` turns it off, so that files use LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest

Kind = Literal["model", "dataset"]
Role = Literal["read", "write", "fineGrained"]
LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".parquet", ".model")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob_id(content: bytes) -> str:
    """Git's blob id of a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub stores a file as LFS."""
    return size > 0 and (path.endswith(LFS_SUFFIXES) or size > 1 << 20 or b"\0" in sample)


@dataclass
class Account:
    """A token's user and permissions. `scopes`: of a fine-grained token, by user or organisation."""

    name: str
    role: Role = "write"
    orgs: tuple[str, ...] = ()
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def may_write(self, owner: str) -> bool:
        if self.role == "fineGrained":
            return "repo.write" in self.scopes.get(owner, ())
        return self.role == "write" and owner in (self.name, *self.orgs)

    def may_read(self, owner: str) -> bool:
        if self.role == "fineGrained":
            return bool({"repo.write", "repo.content.read"} & set(self.scopes.get(owner, ())))
        return owner in (self.name, *self.orgs)

    def whoami(self) -> dict[str, Any]:
        """The response of /api/whoami-v2."""
        token: dict[str, Any] = {"displayName": "test", "role": self.role}
        if self.role == "fineGrained":
            scoped = [
                {
                    "entity": {"type": "user" if owner == self.name else "org", "name": owner},
                    "permissions": list(given),
                }
                for owner, given in self.scopes.items()
            ]
            token["fineGrained"] = {"global": [], "canReadGatedRepos": True, "scoped": scoped}
        return {
            "type": "user", "id": "1", "name": self.name, "fullname": self.name.title(),
            "orgs": [{"type": "org", "name": name, "roleInOrg": "write"} for name in self.orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }  # fmt: skip


@dataclass
class Repo:
    """A repository: trees by commit, commits by branch or tag."""

    kind: Kind
    id: str
    private: bool = False
    gated: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def files(self) -> dict[str, bytes]:
        """The newest files by path."""
        return self.trees[self.refs["main"]]

    def commit(self, files: Mapping[str, bytes | str], message: str, branch: str = "main") -> str:
        """Make `files` the complete content of a branch."""
        contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        seed = f"{self.kind}/{self.id}/{len(self.trees)}".encode()
        sha = hashlib.sha1(seed, usedforsecurity=False).hexdigest()
        self.trees[sha], self.refs[branch] = contents, sha
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit id."""
        return self.refs.get(revision) or (revision if revision in self.trees else None)


@dataclass
class Fault:
    """A fault for the next `times` requests whose "METHOD /path" matches `pattern`.

    `drop`: close the connection after so many bytes of the body were sent (uploads: read). `delay`: in seconds.
    `reset`: close it with a TCP reset.
    """

    pattern: str
    status: int = 0
    times: int = 1
    drop: int | None = None
    reset: bool = False
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = "The stub was told to fail."
    hits: int = 0


class HubStub:
    """The Hub's API on a port of this machine. Use it as a context manager, or `start` and `stop` it."""

    def __init__(self) -> None:
        self.repos: dict[tuple[Kind, str], Repo] = {}
        self.accounts: dict[str, Account] = {}
        self.objects: dict[str, bytes] = {}  # uploaded LFS contents, by the announced sha256
        self.requests: list[str] = []  # "METHOD /path?query" of every request
        self.bytes_sent = 0  # of file contents
        self.lies_about: set[str] = set()  # paths whose content is corrupted after the upload
        self.loses_commits = False  # confirm a commit, but drop it
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> HubStub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        from tests.helpers.hub_stub_http import make_server

        self._server = make_server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="hub-stub", daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        assert self._server, "start the stub first"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The environment of a process that uses the stub. `home`: for caches and logins."""
        return {
            "HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            "HF_HUB_ETAG_TIMEOUT": "3", "HF_TOKEN": token, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def patch_process(self, patch: pytest.MonkeyPatch, home: Path, token: str = "") -> None:
        """Point this process at the stub, even if it has imported huggingface_hub already."""
        from huggingface_hub import constants

        for name, value in self.environment(home, token).items():
            patch.setenv(name, value)
        patch.setattr(constants, "ENDPOINT", self.url)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE"):
            patch.setattr(constants, name, str(home / name.lower()))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))

    # Content

    def add(self, kind: Kind, name: str, files: Mapping[str, bytes | str] | Path, **settings: Any) -> Repo:
        """Add a repository with these files, or those of a folder."""
        if isinstance(files, Path):
            files = {str(p.relative_to(files)): p.read_bytes() for p in files.rglob("*") if p.is_file()}
        repo = Repo(kind, name, **settings)
        repo.commit(files, "initial commit")
        self.repos[kind, name] = repo
        return repo

    def account(self, token: str, name: str = "ann", **settings: Any) -> Account:
        """Add a token of this user."""
        self.accounts[token] = Account(name, **settings)
        return self.accounts[token]

    def fail(self, pattern: str, **settings: Any) -> Fault:
        """Make requests fail; see `Fault`."""
        fault = Fault(pattern, **settings)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
        self.lies_about.clear()
        self.loses_commits = False

    def asked(self, pattern: str) -> int:
        """How many requests matched `pattern`."""
        return sum(bool(re.match(pattern, request)) for request in list(self.requests))

    # For the handler

    def fault_for(self, request: str) -> Fault | None:
        """The fault for this request, if any; records the request."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.hits < fault.times and re.match(fault.pattern, request):
                    fault.hits += 1
                    return fault
        return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._lock:
            yield

    def take_object(self, oid: str, content: bytes) -> None:
        """Store an uploaded LFS object."""
        with self._lock:
            self.objects[oid] = content

    def apply_commit(self, repo: Repo, branch: str, lines: list[dict[str, Any]]) -> str | None:
        """Apply the lines of a commit; returns its id, or None when an object was not uploaded."""
        files, summary = dict(repo.files), ""
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    summary = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.objects:
                        return None
                    files[value["path"]] = self.objects[value["oid"]]
                case "deletedFile":
                    files.pop(value["path"], None)
        for path in self.lies_about & files.keys():
            files[path] = b"\xff" + files[path][1:]
        if self.loses_commits:
            return hashlib.sha1(str(time.time()).encode(), usedforsecurity=False).hexdigest()
        return repo.commit(files, summary, branch)


def entry(path: str, content: bytes) -> dict[str, Any]:
    """A file as in the responses of tree and paths-info."""
    found: dict[str, Any] = {"type": "file", "oid": blob_id(content), "size": len(content), "path": path}
    if is_lfs(path, len(content), content[:512]):
        found["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
    return found


def listing(files: Mapping[str, bytes], under: str, recursive: bool) -> list[dict[str, Any]]:
    """The tree below a folder ("" for the root): files and folders."""
    prefix = f"{under}/" if under else ""
    found: list[dict[str, Any]] = []
    folders: set[str] = set()
    for path, content in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parents = path[len(prefix) :].split("/")[:-1]
        for depth in range(1, len(parents) + 1 if recursive else min(len(parents), 1) + 1):
            folders.add(prefix + "/".join(parents[:depth]))
        if recursive or not parents:
            found.append(entry(path, content))
    return [
        {"type": "directory", "oid": blob_id(f.encode()), "size": 0, "path": f} for f in sorted(folders)
    ] + found


def info(repo: Repo, sha: str) -> dict[str, Any]:
    """A repository as in the API's responses."""
    tags = [f"license:{repo.card['license']}"] if repo.card.get("license") else []
    return {
        "_id": blob_id(repo.id.encode())[:24], "id": repo.id, "modelId": repo.id, "author": repo.owner, "sha": sha,
        "lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repo.private, "gated": "manual" if repo.gated else False, "disabled": False,
        "downloads": 1000 - len(repo.id), "likes": 7, "tags": tags, "cardData": repo.card,
        "description": repo.card.get("pretty_name", ""),
        "siblings": [{"rfilename": path} for path in sorted(repo.trees[sha])],
    }  # fmt: skip


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
