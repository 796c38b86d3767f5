"""A fake prover: it returns scripted reports and records the specs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

from engine.config.run_spec import RunSpec
from engine.messages.message import say
from engine.protocol.data_report import (
    AnyProof,
    DataProblem,
    DataReport,
    Fix,
    ProofFailed,
    ProofProgress,
    ProvenRow,
    TokenView,
)

Answers = Callable[[RunSpec], Iterable[AnyProof]]


def tokens(prompt: str, answer: str) -> tuple[TokenView, ...]:
    """A token for each word, including the template's tokens."""
    said = [("<|im_start|>user\n", False, True), *((f" {w}", False, False) for w in prompt.split())]
    said += [("<|im_end|>", False, True), ("\n", False, False), ("<|im_start|>assistant\n", False, True)]
    said += [(f" {w}", True, False) for w in answer.split()] + [("<|im_end|>", True, True)]
    return tuple(TokenView(n, text, learned, special) for n, (text, learned, special) in enumerate(said))


ANSWER = "我是 懒猴 Loris ，\n a slow helper."


def proven(number: int, prompt: str = "你是 谁？", answer: str = ANSWER) -> ProvenRow:
    views = tokens(prompt, answer)
    return ProvenRow(
        number=number, raw=f'{{\n  "question": "{prompt}",\n  "answer": "{answer}"\n}}',
        text="".join(view.text for view in views), tokens=views, length=len(views),
        learned=sum(view.learned for view in views),
    )  # fmt: skip


LENGTHS = (*((n, 900 - abs(n - 300) * 2) for n in range(20, 700, 20)), (1400, 12), (2210, 3))
REPORT = DataReport(
    path="data/identity.jsonl", rows_total=sum(n for _, n in LENGTHS), exact=True, sampled=False,
    rows=sum(n for _, n in LENGTHS), format="alpaca", variant="question/answer",
    why=say('"{question}" and "{answer}" are usual names of a question and its answer.',
            question="question", answer="answer"),
    confidence=0.95, max_seq_length=1024, batch_size=2, duplicate_rows=4, tokens=2_400_000,
    learned_tokens=1_310_000, lengths=LENGTHS, answers_at=((40, 9000), (1500, 3)), eos_token="<|im_end|>",
    instruction_part="<|im_start|>user\n", response_part="<|im_start|>assistant\n",
    examples=tuple(proven(n) for n in (1, 2, 3)), seconds=6.4, peak_bytes=900 << 20,
)  # fmt: skip
DROP = Fix(say("Leave these rows out, and list them in dropped.jsonl"), {"dataset.drop_bad_rows": True})
LONGER = Fix(say("Set the context length to {length}", length=2240), {"model.max_seq_length": 2240})
STOPPED = DataReport(
    **{name: getattr(REPORT, name) for name in REPORT.__struct_fields__ if name not in ("problems", "bad_rows")},
    bad_rows=2,
    problems=(
        DataProblem(
            code="rows_bad", level="stop", row=3, value='{"question": null}', count=2, fixes=(DROP,),
            field="dataset.output_column",
            message=say("Rows that cannot be learned: {count}. The first: {reason}", count=2,
                        reason="Row 3 has no answer: [red]answer[/] is empty."),
        ),
        DataProblem(
            code="rows_cut", level="warning", count=15, fixes=(LONGER,), field="model.max_seq_length",
            message=say("Rows cut at {length} tokens: {count} of {rows} ({share}). The cut part and the end token "
                        "are not learned.", length=1024, count=15, rows=REPORT.rows, share="0%"),
        ),
    ),
)  # fmt: skip
MEASURING = ProofProgress(stage="measuring", done=12_000, total=50_000)
FAILED = ProofFailed(
    code="tokenizer", message=say("There is no model here: {path}", path="/models/[nope]"),
    field="model.model_name", hint=say("Choose a model on the Model screen."),
)  # fmt: skip


@dataclass
class FakeProver:
    """`answers` makes the report for a spec; `hangs`: after the progress it waits to be cancelled."""

    answers: Answers = lambda spec: (MEASURING, REPORT)
    hangs: bool = False
    asked: list[RunSpec] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    async def prove(self, spec: RunSpec) -> AsyncGenerator[AnyProof, None]:
        self.asked.append(spec)
        ended = False
        try:
            for answer in self.answers(spec):
                if not isinstance(answer, ProofProgress):
                    if self.hangs:
                        await asyncio.Event().wait()
                    ended = True
                yield answer
                await asyncio.sleep(0)
        finally:
            self.cancelled += not ended

    def close(self) -> None:
        self.closed = True
