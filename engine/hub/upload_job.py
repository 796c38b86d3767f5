"""What the process that uploads is told on its standard input, and says on its standard output: JSON lines."""

from __future__ import annotations

import msgspec

from engine.hub.errors import HubError
from engine.messages.message import Message
from engine.protocol.events import ExportKind, PushStep


class PushJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and where to. Only ever passed through a pipe: `token` is nowhere on disk.

    `repo_id` without an owner means the token's user, and so does {owner} in `card`. `card`: the text of
    README.md; empty keeps the folder's own. `replace`: take a repository that has other files already.
    `tries`: of each request to the Hub.
    """

    kind: ExportKind
    folder: str
    repo_id: str
    private: bool = True
    card: str = ""
    token: str = ""
    replace: bool = False
    tries: int = 5

    def __repr__(self) -> str:
        return f"PushJob({self.kind}, {self.folder!r}, {self.repo_id!r}, private={self.private})"


class UploadProgress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far it is. `repo_id`: the full name. `waiting`: seconds until the next try, after a failure."""

    step: PushStep
    repo_id: str
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    waiting: float = 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Everything is on the Hub, and its list of files was compared with the folder's."""

    repo_id: str
    url: str
    commit: str
    private: bool
    files: int
    total_bytes: int


class UploadProblem(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It did not work. `passing`: trying again may help."""

    code: str
    message: Message
    hint: Message | None = None
    field: str = ""
    passing: bool = False

    def as_error(self) -> HubError:
        return HubError(self.code, self.message, self.hint, self.field, passing=self.passing)


Said = UploadProgress | Result | UploadProblem
encode = msgspec.json.Encoder().encode
decode_job = msgspec.json.Decoder(PushJob).decode
decode_said = msgspec.json.Decoder(Said).decode
