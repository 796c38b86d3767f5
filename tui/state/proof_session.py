"""The app's hold on proofs of datasets: the one that goes on, and the last report. Tests inject the prover."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic as now
from typing import Protocol

import msgspec

from engine.config.run_spec import RunSpec
from engine.protocol.data_report import AnyProof, DataProblem, DataReport, ProofFailed, ProofProgress, ProvenRow

TELL_SECONDS = 0.2  # between two looks at the progress: each crosses the line


class Prover(Protocol):
    """What is needed of `engine.client.proof_worker.ProofWorker`."""

    def prove(self, spec: RunSpec) -> AsyncGenerator[AnyProof, None]: ...
    def close(self) -> None: ...


def real_prover() -> Prover:
    from engine.client.proof_worker import ProofWorker

    return ProofWorker()


class ProofSession:
    """`report` or `failed` is what came out last, of the settings that `is_of` compares with."""

    def __init__(self, prover: Prover | None = None) -> None:
        self._prover = prover
        self._of: RunSpec | None = None
        self._told = 0.0
        self._mine: object = None
        self.report: DataReport | None = None
        self.failed: ProofFailed | None = None
        self.progress: ProofProgress | None = None  # while a proof goes on
        self.started = 0.0

    def is_of(self, spec: RunSpec) -> bool:
        """Whether what came out last still holds for these settings."""
        return self._of is not None and _what_counts(self._of) == _what_counts(spec)

    def report_of(self, spec: RunSpec) -> DataReport | None:
        """The last report, if it is of these settings."""
        return self.report if self.is_of(spec) else None

    def stops_of(self, spec: RunSpec) -> tuple[DataProblem, ...]:
        """What keeps these settings from training, as far as it was looked at."""
        report = self.report_of(spec)
        return report.stops if report else ()

    async def run(self, spec: RunSpec, tell: Callable[[], object]) -> None:
        """Prove; `tell` is called when there is news. Cancel the task and nothing of it remains."""
        self._mine = mine = object()  # a later run may begin before this one has ended
        self.started, self.progress = now(), ProofProgress(stage="importing")
        tell()
        try:
            async with aclosing(self._worker().prove(spec)) as answers:
                async for answer in answers:
                    if isinstance(answer, ProofProgress):
                        self._tell_progress(answer, tell)
                    else:
                        self._of = spec
                        self.report = answer if isinstance(answer, DataReport) else None
                        self.failed = answer if isinstance(answer, ProofFailed) else None
        finally:
            if self._mine is mine:
                self.progress = None
                tell()

    def _tell_progress(self, progress: ProofProgress, tell: Callable[[], object]) -> None:
        stage = self.progress.stage if self.progress else ""
        self.progress = progress
        if progress.stage != stage or now() - self._told > TELL_SECONDS:
            self._told = now()
            tell()

    async def row(self, spec: RunSpec, number: int) -> ProvenRow | ProofFailed | None:
        """Any row of the main dataset by its number, from 1; None if there is no such."""
        name = spec.dataset.split.partition("[")[0].strip()
        kind = self.report.format if self.report else "auto"
        only = msgspec.structs.replace(
            spec.dataset,
            split=f"{name}[{number - 1}:{number}]", mix=(), sample_rows=0,
            format=kind if kind in ("alpaca", "messages", "text") else spec.dataset.format,
        )  # fmt: skip
        async with aclosing(self._worker().prove(msgspec.structs.replace(spec, dataset=only))) as answers:
            async for answer in answers:
                if isinstance(answer, ProofFailed):
                    return answer
                if isinstance(answer, DataReport):
                    return next(iter(answer.examples), None)
        return None

    def _worker(self) -> Prover:
        if self._prover is None:
            self._prover = real_prover()
        return self._prover

    def close(self) -> None:
        """End the worker's process, whatever it is doing."""
        if self._prover:
            self._prover.close()


def _what_counts(spec: RunSpec) -> tuple[object, ...]:
    """The settings on which a report depends."""
    data = msgspec.structs.replace(spec.dataset, test_size=0.0, eval_path="", eval_split="")
    model = spec.model
    return (
        model.model_name, model.revision, model.max_seq_length, data, spec.training.per_device_train_batch_size,
    )  # fmt: skip
