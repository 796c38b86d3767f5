"""What a client may ask of a running engine, over its Unix socket: one JSON object a line, both ways.

A client numbers its requests; each reply carries the number it answers. A request ends with exactly one
`Done` or `Refused`; a `Generate` streams `Token` replies before that. Results that must last are events.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.config.run_spec import GenerationSpec, RunSpec
from engine.messages.errors import UserError
from engine.messages.message import Message
from engine.protocol.events import ExportKind

MAX_REQUEST_BYTES = 4 * 1024 * 1024


class ChatMessage(msgspec.Struct, frozen=True):
    """A turn of a conversation, as chat templates take it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """A request. `id` is the client's own number for it."""

    id: int


class Train(Command, frozen=True, kw_only=True):
    """Train as the spec says, once the model is loaded; the model section must be the one that was asked for."""

    spec: RunSpec


StopMode = Literal["save", "now", "discard"]


class Stop(Command, frozen=True, kw_only=True):
    """End the run, at any moment before it serves. A stronger mode may follow a weaker one.

    save: after the step in progress, with the adapter saved and verified. now: at once, keeping what is
    complete on disk already. discard: at once, and without an adapter; checkpoints of before stay.
    """

    mode: StopMode = "save"


class SaveCheckpoint(Command, frozen=True, kw_only=True, tag="Checkpoint"):
    """Save a checkpoint after the step in progress. Taken while training."""


class Generate(Command, frozen=True, kw_only=True):
    """Answer a conversation, with the adapter or from the base model. Taken in "ready" and "serving".

    `other`: the folder of another run or adapter on the same base model, which answers instead of the own one.
    """

    messages: tuple[ChatMessage, ...]
    adapter: bool
    generation: GenerationSpec
    other: str = ""


class ShowPrompt(Command, frozen=True, kw_only=True):
    """Write a conversation as the model would be given it, and answer nothing. Taken where `Generate` is."""

    messages: tuple[ChatMessage, ...]
    generation: GenerationSpec


class Cancel(Command, frozen=True, kw_only=True):
    """Stop the answer to this client's request number `target`; it ends with finish_reason cancelled."""

    target: int


class Export(Command, frozen=True, kw_only=True):
    """Save the trained model. Taken in "serving". Streams `Progress`; `Cancel` gives it up, and nothing is left.

    `path` empty: into the run folder's exports. `quantizations`: of a GGUF, by Unsloth's names, several at once.
    `llama_cpp`: where llama.cpp is, empty to look for it. `ollama`: the name under which Ollama shall have a
    GGUF, empty for none. `replace`: what is at the target already may be replaced.
    """

    kind: ExportKind
    path: str = ""
    quantizations: tuple[str, ...] = ()
    llama_cpp: str = ""
    ollama: str = ""
    replace: bool = False


class Push(Command, frozen=True, kw_only=True):
    """Send something saved to the Hub. Taken in "serving"; it goes on beside everything else.

    `path`: the folder; empty is where this run saves that kind. `repo_id`: owner/name, or a name alone.
    `card`: the text of README.md, empty to have it written from the run. `token`: empty for the Hub's own
    login; it is kept in memory alone. `replace`: take a repository that holds other files already. Ends with
    `Done`, whose path is the address; progress comes as events. It goes on when its client goes away.
    """

    kind: ExportKind
    repo_id: str
    path: str = ""
    private: bool = True
    card: str = ""
    token: str = ""
    replace: bool = False

    def __repr__(self) -> str:
        return f"Push(id={self.id}, kind={self.kind!r}, repo_id={self.repo_id!r}, path={self.path!r})"


class CancelExport(Command, frozen=True, kw_only=True):
    """Give up the export in progress, whoever asked for it: it goes on when its client goes away."""


class CancelPush(Command, frozen=True, kw_only=True):
    """Give up the push in progress, whoever asked for it. What was transferred serves the next try."""


class Shutdown(Command, frozen=True, kw_only=True):
    """End the engine: at once when idle; while training, after the step and a saved adapter."""


AnyCommand = (
    Train
    | Stop
    | SaveCheckpoint
    | Generate
    | ShowPrompt
    | Cancel
    | Export
    | CancelExport
    | Push
    | CancelPush
    | Shutdown
)


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """An answer to request `id`; 0 answers a request too broken to have a number."""

    id: int


class Token(Reply, frozen=True, kw_only=True):
    """The next piece of text of an answer: whole characters, never half of one."""

    text: str


ExportStep = Literal["merging", "converting", "quantizing", "copying", "verifying", "hashing", "ollama"]


class ExportProgress(Reply, frozen=True, kw_only=True, tag="Progress"):
    """How far an `Export` is. `total` 0: not known. `what`: the quantisation or the file in work."""

    step: ExportStep
    done: int = 0
    total: int = 0
    unit: Literal["bytes", "tensors", "layers", ""] = ""
    what: str = ""


class Done(Reply, frozen=True, kw_only=True):
    """The request was carried out. For `Generate`: the counts; for `Export`: where it was saved.

    `note`: what an `Export` leaves for the user to do, such as the command that hands a GGUF to Ollama, or why
    an answer likely did not end by itself. `prompt_tokens`: of the conversation, of the `context_tokens` that
    the model takes with its answer. `text`: what `ShowPrompt` asked for.
    """

    tokens: int = 0
    seconds: float = 0.0
    finish_reason: Literal["", "eos", "length", "cancelled"] = ""
    path: str = ""
    note: Message | None = None
    prompt_tokens: int = 0
    context_tokens: int = 0
    text: str = ""


class Refused(Reply, frozen=True, kw_only=True):
    """The request was not carried out, and nothing was harmed. `field`: the setting to blame, if one is."""

    code: str
    message: Message
    field: str = ""

    @classmethod
    def of(cls, request: int, error: UserError) -> Refused:
        return cls(id=request, code=error.code, message=error.message, field=error.field)


AnyReply = Token | ExportProgress | Done | Refused

encode = msgspec.json.Encoder().encode
decode_command = msgspec.json.Decoder(AnyCommand).decode
decode_reply = msgspec.json.Decoder(AnyReply).decode
