"""The report of a dataset proof, which the terminal shows and `loris data` prints.

Counts are of the measured rows: all rows, unless `sampled`. Lengths are in tokens, before truncation to
`max_seq_length`, so that other lengths can be tried without tokenising again (`at_length`).
"""

import random
from functools import lru_cache
from typing import Any, Literal

import msgspec

from engine.config.run_spec import RunSpec
from engine.messages.message import Message

ProofStage = Literal["importing", "tokenizer", "reading", "measuring"]


class Fix(msgspec.Struct, frozen=True):
    """A way to fix a problem. `changes`: new values of spec fields, by dotted path."""

    label: Message
    changes: dict[str, Any]


class DataProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem in the data. Level "stop" prevents training, "warning" does not.

    `row`: the number of the first affected row, from 1; `value`: its content; `count`: affected rows.
    """

    code: str
    level: Literal["stop", "warning"]
    message: Message
    field: str = ""
    row: int | None = None
    value: str = ""
    count: int = 0
    fixes: tuple[Fix, ...] = ()


class TokenView(msgspec.Struct, frozen=True, array_like=True):
    """A token of an example. `learned`: it counts in the loss. `special`: it belongs to the template."""

    id: int
    text: str
    learned: bool
    special: bool


class ProvenRow(msgspec.Struct, frozen=True, kw_only=True):
    """An example row. `number`: in the data, from 1. `tokens`: after truncation; empty if it failed.

    `length`: tokens before truncation. `pieces`: rows that the trainer gets of it; with more than one, nothing is
    truncated. `rejected`: of a pair, the same for the rejected answer; the row itself is
    the chosen one. `error`: why it cannot be learned.
    """

    number: int
    raw: str
    text: str = ""
    tokens: tuple[TokenView, ...] = ()
    length: int = 0
    learned: int = 0
    pieces: int = 1
    rejected: "ProvenRow | None" = None
    error: Message | None = None


class LackingRows(msgspec.Struct, frozen=True):
    """Rows whose training text lacks a part of the row. `part`: as in `engine.training.row_check.Part`."""

    part: str
    rows: int


class Unused(msgspec.Struct, frozen=True):
    """A column, or a key of turns, that training does not use. `rows`: in how many measured rows it is filled."""

    kind: Literal["column", "key"]
    name: str
    rows: int


class TurnCounts(msgspec.Struct, frozen=True):
    """The turns of the measured chats. `masked`: read, not learned. `dropped`: in no text."""

    learned: int = 0
    masked: int = 0
    dropped: int = 0


class AnswerSummary(msgspec.Struct, frozen=True):
    """The measured pairs and votes. Tokens are the mean of what is learned in a chosen or a rejected answer."""

    pairs: int = 0
    equal: int = 0
    chosen_longer: int = 0
    chosen_tokens: float = 0.0
    rejected_tokens: float = 0.0
    good: int = 0
    bad: int = 0


class DataReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """See the module. `rows_total`: in the data, an estimate unless `exact`. `rows`: measured. `taken`: rows that
    training uses after weights and `sample_rows`, None if it uses each row once.

    `lacking`: what the texts lack of their rows; empty if everything in a row is in its text.
    `answers`: of pairs and votes. `tied_rows`: left out, as none of their answers is better. `learns_answers`:
    whether training learns the answers of the data, rather than the model's own. `divided`: texts longer than the
    context are learned in pieces.
    `lengths`: (tokens, rows) pairs; of a pair, the longer side counts. `answers_at`: (position of the first
    learned token, rows) pairs: an answer whose first token is cut off is lost completely. `held_out_rows`: of the
    measured rows, for evaluation; `kept_apart_rows`: equal to one of them, so on neither side. `peak_bytes`: the
    peak memory of the process.
    """

    number: int = 0
    path: str
    rows_total: int
    exact: bool
    sampled: bool
    rows: int
    taken: int | None = None
    format: str
    variant: str
    why: Message
    confidence: float
    max_seq_length: int
    batch_size: int
    empty_rows: int = 0
    duplicate_rows: int = 0
    bad_rows: int = 0
    unlearned_rows: int = 0
    endless_rows: int = 0
    marked_rows: int = 0
    lacking: tuple[LackingRows, ...] = ()
    held_out_rows: int = 0
    kept_apart_rows: int = 0
    unused: tuple[Unused, ...] = ()
    turns: TurnCounts = TurnCounts()
    answers: AnswerSummary = AnswerSummary()
    tied_rows: int = 0
    learns_answers: bool = True
    tokens: int = 0
    learned_tokens: int = 0
    divided: bool = False
    lengths: tuple[tuple[int, int], ...] = ()
    answers_at: tuple[tuple[int, int], ...] = ()
    eos_token: str = ""
    instruction_part: str = ""
    response_part: str = ""
    examples: tuple[ProvenRow, ...] = ()
    problems: tuple[DataProblem, ...] = ()
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def stops(self) -> tuple[DataProblem, ...]:
        return tuple(problem for problem in self.problems if problem.level == "stop")


class ProofProgress(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """How far the measuring is. `total` 0: unknown."""

    number: int = 0
    stage: ProofStage
    done: int = 0
    total: int = 0


class ProofFailed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """Nothing could be measured: a setting is wrong, or the worker died. `field`: the wrong setting."""

    number: int = 0
    code: str
    message: Message
    hint: Message | None = None
    field: str = ""


AnyProof = ProofProgress | DataReport | ProofFailed


class AtLength(msgspec.Struct, frozen=True):
    """The effect of a context length. Shares are from 0 to 1.

    `padding_share`: padding tokens among all computed tokens. `packed_share`: the share of the computed tokens that
    remains with packing.
    """

    length: int
    rows_cut: int
    answers_lost: int
    padding_share: float
    packed_share: float


SIMULATED_ROWS = 20_000


@lru_cache(maxsize=2)  # moving the length line asks for many lengths of one report
def _shuffled(lengths: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Row lengths in random order, as in the trainer's batches; at most `SIMULATED_ROWS`."""
    rows = [tokens for tokens, count in lengths for _ in range(count)]
    random.Random(3407).shuffle(rows)
    return tuple(rows[:SIMULATED_ROWS])


def at_length(report: DataReport, length: int, batch_size: int | None = None) -> AtLength:
    """The figures of a report for another `max_seq_length`, in a few milliseconds."""
    cut = lost = 0
    if report.divided:
        rows = [min(length, tokens - at) for tokens in _shuffled(report.lengths) for at in range(0, tokens, length)]
    else:
        cut = sum(rows for tokens, rows in report.lengths if tokens > length)
        lost = sum(rows for position, rows in report.answers_at if position >= length)
        rows = [min(tokens, length) for tokens in _shuffled(report.lengths)]
    size = batch_size or report.batch_size
    computed = sum(
        max(batch) * len(batch) for start in range(0, len(rows), size) if (batch := rows[start : start + size])
    )
    kept = sum(rows)
    packed = -(-kept // length) * length if length else 0
    return AtLength(
        length=length,
        rows_cut=cut,
        answers_lost=lost,
        padding_share=1 - kept / computed if computed else 0.0,
        packed_share=min(1.0, packed / computed) if computed else 1.0,
    )


class ProofRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset to measure; replies carry its `number`. Without a spec, only cancel the proof in progress.

    `most_rows`: how many rows of each source to read at most; None for all, however long that takes.
    """

    number: int
    spec: RunSpec | None = None
    most_rows: int | None = 100_000


encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(ProofRequest).decode
decode_proof = msgspec.json.Decoder(AnyProof).decode
