"""The HTTP routes of the Hub's stub. See `tests.helpers.hub_stub`."""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers.hub_stub import (
    Account,
    Fault,
    HubStub,
    Kind,
    Repo,
    as_json,
    blob_id,
    entry,
    info,
    is_lfs,
    listing,
    sha256,
)

MOST_BYTES = 256 << 20  # of a request's body
PIECE = 16 << 10
NAME = r"[\w.-]+(?:/[\w.-]+)?"
API = rf"/api/(?P<kind>model|dataset)s/(?P<repo>{NAME}?)"


class Answered(Exception):
    """A response other than 200."""

    def __init__(self, status: int, error: str = "", code: str = "", **headers: str) -> None:
        self.status, self.error, self.code, self.headers = status, error, code, headers
        super().__init__(status, error)


class Dropped(Exception):
    """The connection must be closed here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every response waits 40 ms for the client's ACK
    timeout = 20
    hub: HubStub

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._path, _, query = self.path.partition("?")
        self._path = unquote(urlsplit(self._path).path)
        self._query = {name: values[-1] for name, values in parse_qs(query).items()}
        fault = self.hub.fault_for(f"{self.command} {unquote(self.path)}")
        self._fault: Fault | None = fault
        try:
            if fault and fault.delay:
                time.sleep(fault.delay)
            body = self._body()
            if fault and fault.status:
                raise Answered(fault.status, fault.error, "", **fault.headers)
            self._route(body)
        except Answered as answer:
            headers = {**answer.headers, "X-Error-Message": answer.error}
            if answer.code:
                headers["X-Error-Code"] = answer.code
            self._send(as_json({"error": answer.error}), answer.status, **headers)
        except Dropped:
            self._hang_up()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _hang_up(self) -> None:
        """Close the connection with a TCP reset."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _body(self) -> bytes:
        """The complete body; closes the connection while reading it if the fault says so."""
        limit = self._fault.drop if self._fault and self.command in ("PUT", "POST") else None
        read = self.rfile.read
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(64).strip() or b"0", 16):
                body += read(size)
                read(2)
                if limit is not None and len(body) >= limit:
                    raise Dropped
            self.rfile.readline(64)
            return body
        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_BYTES:
            raise Answered(413, "Too large")
        if limit is not None:
            read(min(limit, length))
            raise Dropped
        return read(length)

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self._fault.drop if self._fault else None
        for start in range(0, len(body), PIECE):
            if limit is not None and start >= limit:
                self.wfile.flush()
                if self._fault and self._fault.reset:
                    raise Dropped
                # Close in the middle of a body without a reset, which would discard what was sent.
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.wfile.write(body[start : start + PIECE])
            self.hub.bytes_sent += len(body[start : start + PIECE])

    # Account and repository

    @property
    def _account(self) -> Account | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not given:
            return None
        if given not in self.hub.accounts:
            raise Answered(401, "Invalid credentials in Authorization header")
        return self.hub.accounts[given]

    def _repo(self, kind: str, name: str, contents: bool = False) -> Repo:
        """The repository, if the account can see it; `contents`: files are requested, which a gated one refuses."""
        key: tuple[Kind, str] = ("dataset" if kind == "dataset" else "model", name)
        repo = self.hub.repos.get(key)
        account = self._account
        if repo is None or (repo.private and not (account and account.may_read(repo.owner))):
            if account is None:
                raise Answered(401, "Invalid username or password.", "RepoNotFound")
            raise Answered(404, "Repository not found", "RepoNotFound")
        if contents and repo.gated and not (account and account.may_read(repo.owner)):
            words = f"Access to {kind} {name} is restricted."
            raise Answered(403 if account else 401, words, "GatedRepo")
        return repo

    def _writable(self, kind: str, name: str) -> Repo:
        repo = self._repo(kind, name)
        account = self._account
        if account is None:
            raise Answered(401, "Invalid username or password.")
        if not account.may_write(repo.owner):
            raise Answered(403, f"Forbidden: you must use a write token to upload to a repository: {name}")
        return repo

    def _commit(self, repo: Repo, revision: str) -> str:
        if sha := repo.at(unquote(revision)):
            return sha
        raise Answered(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    # Routes

    def _route(self, body: bytes) -> None:
        for method, pattern, answer in ROUTES:
            if self.command in method and (found := re.fullmatch(pattern, self._path)):
                reply = answer(self, body, **found.groupdict())
                if reply is not None:
                    self._send(as_json(reply))
                return
        raise Answered(404, f"Sorry, we can't find the page you are looking for: {self._path}")

    def whoami(self, body: bytes) -> Any:
        account = self._account
        if account is None:
            raise Answered(401, "Invalid username or password.")
        return account.whoami()

    def search(self, body: bytes, kind: str) -> Any:
        words = self._query.get("search", "").lower()
        account = self._account
        found = [
            info(repo, repo.refs["main"])
            for (of, name), repo in sorted(self.hub.repos.items())
            if of == kind and words in name.lower()
            and (not repo.private or (account and account.may_read(repo.owner)))
        ]  # fmt: skip
        return sorted(found, key=lambda one: -one["downloads"])[: int(self._query.get("limit", 100))]

    def about(self, body: bytes, kind: str, repo: str, revision: str = "main") -> Any:
        found = self._repo(kind, repo)
        sha = self._commit(found, revision)
        described = info(found, sha)
        if self._query.get("blobs"):
            described["siblings"] = [
                {"rfilename": one["path"], "size": one["size"], "blobId": one["oid"],
                 "lfs": one.get("lfs") and {**one["lfs"], "sha256": one["lfs"]["oid"]}}
                for one in (entry(path, content) for path, content in sorted(found.trees[sha].items()))
            ]  # fmt: skip
        return described

    def tree(self, body: bytes, kind: str, repo: str, revision: str, path: str = "") -> Any:
        found = self._repo(kind, repo)
        files = found.trees[self._commit(found, revision)]
        under = (path or "").strip("/")
        listed = listing(files, under, self._query.get("recursive", "").lower() in ("1", "true"))
        if under and not listed:
            raise Answered(404, f"{under} does not exist", "EntryNotFound")
        return listed

    def paths_info(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        found = self._repo(kind, repo)
        files = found.trees[self._commit(found, revision)]
        if self.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(body)["paths"]
        else:
            paths = parse_qs(body.decode())["paths"]
        listed = []
        for path in [paths] if isinstance(paths, str) else paths:
            if path in files:
                listed.append(entry(path, files[path]))
            elif any(name.startswith(f"{path}/") for name in files):
                listed.append({"type": "directory", "oid": blob_id(path.encode()), "size": 0, "path": path})
        return listed

    def refs(self, body: bytes, kind: str, repo: str) -> Any:
        found = self._repo(kind, repo)
        names = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": sha} for n, sha in found.refs.items()]
        return {"branches": names, "tags": [], "converts": []}

    def resolve(self, body: bytes, repo: str, revision: str, path: str, kind: str | None = None) -> None:
        found = self._repo("dataset" if kind else "model", repo, contents=True)
        sha = self._commit(found, revision)
        content = found.trees[sha].get(path)
        if content is None:
            raise Answered(404, "Entry not found", "EntryNotFound", X_Repo_Commit=sha)
        etag = sha256(content) if is_lfs(path, len(content), content[:512]) else blob_id(content)
        headers = {
            "X_Repo_Commit": sha, "ETag": f'"{etag}"', "X_Linked_Etag": f'"{etag}"', "Accept_Ranges": "bytes",
            "X_Linked_Size": str(len(content)), "Content_Type": "application/octet-stream",
        }  # fmt: skip
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and int(wanted[1]) >= len(content):
            raise Answered(416, "Range not satisfiable", Content_Range=f"bytes */{len(content)}")
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
            headers["Content_Range"] = f"bytes {start}-{end}/{len(content)}"
            self._send(content[start : end + 1], 206, **headers)
        elif self.command == "HEAD":
            self._send(b"", Content_Length=str(len(content)), **headers)
        else:
            self._send(content, **headers)

    # Upload

    def create(self, body: bytes) -> Any:
        wanted = json.loads(body)
        account = self._account
        if account is None:
            raise Answered(401, "Invalid username or password.")
        owner = wanted.get("organization") or account.name
        kind: Kind = "dataset" if wanted.get("type") == "dataset" else "model"
        name = f"{owner}/{wanted['name']}"
        if not account.may_write(owner):
            raise Answered(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            raise Answered(409, "You already created this model repo")
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.hub.add(kind, name, {".gitattributes": "*.safetensors filter=lfs\n"}, private=private)
        return {"url": url, "name": name, "id": "1"}

    def delete(self, body: bytes) -> Any:
        wanted = json.loads(body)
        owner = wanted.get("organization") or (self._account.name if self._account else "")
        repo = self._writable(wanted.get("type") or "model", f"{owner}/{wanted['name']}")
        del self.hub.repos[repo.kind, repo.id]
        return {}

    def validate(self, body: bytes) -> Any:
        content = json.loads(body)["content"]
        if content.startswith("---") and "\n---" not in content[3:]:
            raise Answered(400, "Invalid metadata in README.md")
        return {"warnings": [], "errors": []}

    def preupload(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        files = self._writable(kind, repo).files
        answers = []
        for wanted in json.loads(body)["files"]:
            path, there = wanted["path"], files.get(wanted["path"])
            sample = base64.b64decode(wanted.get("sample", ""))
            lfs = is_lfs(path, wanted["size"], sample)
            oid = None if there is None else sha256(there) if lfs else blob_id(there)
            mode = "lfs" if lfs else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def batch(self, body: bytes, repo: str, kind: str | None = None) -> Any:
        self._writable("dataset" if kind else "model", repo)
        objects = []
        for wanted in json.loads(body)["objects"]:
            one: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                one["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/lfs-verify/{wanted['oid']}", "header": {}},
                }
            objects.append(one)
        return {"transfer": "basic", "objects": objects}

    def put_object(self, body: bytes, oid: str) -> Any:
        self.hub.take_object(oid, body)
        return {}

    def verify_object(self, body: bytes, oid: str) -> Any:
        if sha256(self.hub.objects.get(oid, b"")) != oid:
            self.hub.objects.pop(oid, None)
            raise Answered(422, "The object is not what was promised")
        return {}

    def commit(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        found = self._writable(kind, repo)
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        with self.hub.locked():
            sha = self.hub.apply_commit(found, revision, lines)
        if sha is None:
            raise Answered(400, "LFS pointer pointed to a file that does not exist")
        return {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}",
            "hookOutput": "",
        }


REVISION = r"(?P<revision>[^/]+)"
ROUTES: list[tuple[tuple[str, ...], str, Callable[..., Any]]] = [
    (("GET",), "/api/whoami-v2", Handler.whoami),
    (("GET",), "/api/(?P<kind>model|dataset)s/?", Handler.search),
    (("POST",), "/api/repos/create", Handler.create),
    (("DELETE",), "/api/repos/delete", Handler.delete),
    (("POST",), "/api/validate-yaml", Handler.validate),
    (("GET",), rf"{API}/revision/{REVISION}", Handler.about),
    (("GET",), rf"{API}/tree/{REVISION}(?:/(?P<path>.*))?", Handler.tree),
    (("POST",), rf"{API}/paths-info/{REVISION}", Handler.paths_info),
    (("GET",), rf"{API}/refs", Handler.refs),
    (("POST",), rf"{API}/preupload/{REVISION}", Handler.preupload),
    (("POST",), rf"{API}/commit/{REVISION}", Handler.commit),
    (("GET",), API, Handler.about),
    (("POST",), rf"/(?P<kind>datasets/)?(?P<repo>{NAME})\.git/info/lfs/objects/batch", Handler.batch),
    (("PUT",), "/lfs/(?P<oid>[0-9a-f]{64})", Handler.put_object),
    (("POST",), "/lfs-verify/(?P<oid>[0-9a-f]{64})", Handler.verify_object),
    (("GET", "HEAD"), rf"/(?P<kind>datasets/)?(?P<repo>{NAME})/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Report bugs of the stub, not closed connections."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def make_server(hub: HubStub) -> ThreadingHTTPServer:
    """A server for this hub on a free port of loopback, not yet serving."""
    handler = type("HubHandler", (Handler,), {"hub": hub})
    return _Server(("127.0.0.1", 0), handler)
