"""Requests to a running engine over its Unix socket, and the replies: one JSON object per line, both ways.

A client numbers its requests; each reply carries the number it answers. A request ends with exactly one
`Done` or `Refused`; a `Generate` streams `Token` replies before that. Results that must be kept are events.
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
    """A turn of a conversation. `input`: of a question to a model trained on instructions with an input."""

    role: Literal["system", "user", "assistant"]
    content: str
    input: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """A request. `id`: the number that the client gave it."""

    id: int


class Train(Command, frozen=True, kw_only=True):
    """Train with this spec, once the model is loaded. Its model section must match the loaded model."""

    spec: RunSpec


class TryRewards(Command, frozen=True, kw_only=True):
    """Let the base model answer a few prompts of this spec's dataset, and score the answers with its rewards.

    Accepted in "ready". The result is the event `Completions` of step 0; the note of `Done` says why nothing can be
    learned, if so.
    """

    spec: RunSpec


StopMode = Literal["save", "now", "discard"]


class Stop(Command, frozen=True, kw_only=True):
    """End the run, at any time before "serving". A stronger mode may follow a weaker one.

    save: after the current step, with the adapter saved and verified, and exported, copied and pushed as the spec
    asks. now: at once, keeping what is on disk already; the rest is skipped. discard: at once, without an adapter;
    earlier checkpoints stay.
    """

    mode: StopMode = "save"


class SaveCheckpoint(Command, frozen=True, kw_only=True, tag="Checkpoint"):
    """Save a checkpoint after the current step. Accepted while training."""


class Generate(Command, frozen=True, kw_only=True):
    """Answer a conversation, with the adapter or from the base model. Accepted in "ready" and "serving".

    In a run that trained an earlier adapter further, that adapter answers for the base model once it is trained.
    `other`: the folder of another run or adapter on the same base model, which answers instead of this run's.
    """

    messages: tuple[ChatMessage, ...]
    adapter: bool
    generation: GenerationSpec
    other: str = ""


class ShowPrompt(Command, frozen=True, kw_only=True):
    """Return the prompt that the model would get for a conversation. Accepted when `Generate` is."""

    messages: tuple[ChatMessage, ...]
    generation: GenerationSpec


class Score(Command, frozen=True, kw_only=True):
    """Score answers to a prompt with a trained reward model. Accepted when `Generate` is."""

    prompt: str
    answers: tuple[str, ...]


class Cancel(Command, frozen=True, kw_only=True):
    """Stop this client's request number `target`; an answer then ends with finish_reason cancelled."""

    target: int


class Export(Command, frozen=True, kw_only=True):
    """Export the trained model. Accepted in "serving". Streams `Progress`; `Cancel` stops it and removes its files.

    `path` empty: into the run folder's exports. `quantizations`: of a GGUF, by Unsloth's names, several at once.
    `llama_cpp`: the folder of llama.cpp, empty to search for it. `ollama`: the model name to give a GGUF in Ollama,
    empty for none. `replace`: overwrite what is already at the target.
    """

    kind: ExportKind
    path: str = ""
    quantizations: tuple[str, ...] = ()
    llama_cpp: str = ""
    ollama: str = ""
    replace: bool = False


class Deliver(Command, frozen=True, kw_only=True):
    """Carry out what the spec asks for after training and is not done, then its confirmed command.

    Accepted in "serving". Streams `Progress`; results come as events. It continues when its client disconnects;
    `Cancel` stops it. Refused with code undelivered when something is still missing. `token`: as in `Push`.
    """

    token: str = ""

    def __repr__(self) -> str:
        return f"Deliver(id={self.id})"


class Push(Command, frozen=True, kw_only=True):
    """Upload an export to the Hub. Accepted in "serving"; it runs in parallel to other requests.

    `path`: the folder; empty is this run's default for that kind. `repo_id`: owner/name, or a name alone.
    `card`: the text of README.md, empty to generate it from the run. `token`: empty for the Hub's own login; it is
    kept in memory only. `replace`: accept a repository that already contains other files. Ends with `Done`, whose
    path is the URL; progress comes as events. It continues when its client disconnects.
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
    """Cancel the export in progress, from any client: an export continues when its client disconnects."""


class CancelPush(Command, frozen=True, kw_only=True):
    """Cancel the push in progress, from any client. The next try reuses what was uploaded."""


class Shutdown(Command, frozen=True, kw_only=True):
    """End the engine: at once when idle; while training, as `Stop` does with "save". Cancels clients' requests."""


AnyCommand = (
    Train
    | TryRewards
    | Stop
    | SaveCheckpoint
    | Generate
    | ShowPrompt
    | Score
    | Cancel
    | Export
    | Deliver
    | CancelExport
    | Push
    | CancelPush
    | Shutdown
)


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """A reply to request `id`; 0 if the request was too malformed to have a number."""

    id: int


class Token(Reply, frozen=True, kw_only=True):
    """The next piece of text of an answer, never cut inside a character."""

    text: str


ExportStep = Literal["merging", "converting", "quantizing", "copying", "verifying", "hashing", "ollama"]


class ExportProgress(Reply, frozen=True, kw_only=True, tag="Progress"):
    """How far an `Export` is. `total` 0: unknown. `what`: the current quantisation or file."""

    step: ExportStep
    done: int = 0
    total: int = 0
    unit: Literal["bytes", "tensors", "layers", ""] = ""
    what: str = ""


class Done(Reply, frozen=True, kw_only=True):
    """The request was carried out. For `Generate`: the counts; for `Export`: `path`.

    `note`: what is left to do after an `Export`, such as the command that imports a GGUF into Ollama, why an answer
    probably did not end by itself, or why nothing can be learned from rewards. `prompt_tokens`: of the
    conversation; `context_tokens`: the limit for conversation and answer together. `text`: the prompt of
    `ShowPrompt`. `scores`: of the answers of a `Score`.
    """

    tokens: int = 0
    seconds: float = 0.0
    finish_reason: Literal["", "eos", "length", "cancelled"] = ""
    path: str = ""
    note: Message | None = None
    prompt_tokens: int = 0
    context_tokens: int = 0
    text: str = ""
    scores: tuple[float, ...] = ()


class Refused(Reply, frozen=True, kw_only=True):
    """The request was not carried out and nothing was changed. `field`: the wrong setting, if any."""

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
