"""Messages of the upload process, as JSON lines: the job on its stdin, progress and result on its stdout."""

import msgspec

from engine.hub.errors import HubError
from engine.messages.message import Message
from engine.protocol.events import ExportKind, PushStep


class PushJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to upload, and where to. Passed through a pipe only: `token` is never written to disk.

    `repo_id` without an owner means the token's user, and so does {owner} in `card`. `card`: the text of
    README.md; empty keeps the folder's own. `replace`: allow a repository that already has other files.
    `tries`: attempts for each request to the Hub.
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
    """Progress of an upload. `repo_id`: the full name. `waiting`: seconds until the next try, after a failure."""

    step: PushStep
    repo_id: str
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    waiting: float = 0.0


class UploadResult(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The upload is complete, and the Hub's files were compared with the local ones."""

    repo_id: str
    url: str
    commit: str
    private: bool
    files: int
    total_bytes: int


class UploadProblem(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The upload failed. `retryable`: a retry may succeed."""

    code: str
    message: Message
    hint: Message | None = None
    field: str = ""
    retryable: bool = False

    def as_error(self) -> HubError:
        return HubError(self.code, self.message, self.hint, self.field, retryable=self.retryable)


UploadMessage = UploadProgress | UploadResult | UploadProblem
encode = msgspec.json.Encoder().encode
decode_job = msgspec.json.Decoder(PushJob).decode
decode_message = msgspec.json.Decoder(UploadMessage).decode
