"""The proofs of datasets: the one that is running, and the last report. Tests inject the prover."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic as now
from typing import Protocol

import msgspec

from engine.config.run_spec import RunSpec
from engine.dataset.detection import HISTORY
from engine.protocol.data_report import AnyProof, DataProblem, DataReport, ProofFailed, ProofProgress, ProvenRow

NOTIFY_SECONDS = 0.2  # between two updates of the progress: each is sent to the terminal


class Prover(Protocol):
    """The part of `engine.client.proof_worker.ProofWorker` that is used."""

    def prove(self, spec: RunSpec) -> AsyncGenerator[AnyProof, None]: ...
    def close(self) -> None: ...


def real_prover() -> Prover:
    from engine.client.proof_worker import ProofWorker

    return ProofWorker()


class ProofSession:
    """`report` or `failed` is the last result, for the settings that `matches` compares with."""

    def __init__(self, prover: Prover | None = None) -> None:
        self._prover = prover
        self._of: RunSpec | None = None
        self._notified_at = 0.0
        self._current: object = None
        self.report: DataReport | None = None
        self.failed: ProofFailed | None = None
        self.progress: ProofProgress | None = None  # while a proof is running
        self.started = 0.0

    def matches(self, spec: RunSpec) -> bool:
        """Whether the last result is valid for these settings."""
        return self._of is not None and _relevant_settings(self._of) == _relevant_settings(spec)

    def report_for(self, spec: RunSpec) -> DataReport | None:
        """The last report, if it is valid for these settings."""
        return self.report if self.matches(spec) else None

    def stops_for(self, spec: RunSpec) -> tuple[DataProblem, ...]:
        """The problems that prevent training with these settings, as far as measured."""
        report = self.report_for(spec)
        return report.stops if report else ()

    async def run(self, spec: RunSpec, notify: Callable[[], object]) -> None:
        """Prove the data; `notify` is called on changes. Cancelling the task cancels the proof."""
        self._current = mine = object()  # a later run may start before this one has ended
        self.started, self.progress = now(), ProofProgress(stage="importing")
        notify()
        try:
            async with aclosing(self._worker().prove(spec)) as answers:
                async for answer in answers:
                    if isinstance(answer, ProofProgress):
                        self._notify_progress(answer, notify)
                    else:
                        self._of = spec
                        self.report = answer if isinstance(answer, DataReport) else None
                        self.failed = answer if isinstance(answer, ProofFailed) else None
        finally:
            if self._current is mine:
                self.progress = None
                notify()

    def _notify_progress(self, progress: ProofProgress, notify: Callable[[], object]) -> None:
        stage = self.progress.stage if self.progress else ""
        self.progress = progress
        if progress.stage != stage or now() - self._notified_at > NOTIFY_SECONDS:
            self._notified_at = now()
            notify()

    async def row(self, spec: RunSpec, number: int) -> ProvenRow | ProofFailed | None:
        """Any row of the main dataset by its number, from 1; None if there is no such row."""
        name = spec.dataset.split.partition("[")[0].strip()
        found = self.report
        kind = found.format if found and HISTORY not in found.variant else "auto"
        only = msgspec.structs.replace(
            spec.dataset,
            split=f"{name}[{number - 1}:{number}]", mix=(), sample_rows=0, test_size=0.0,
            eval_path="", eval_split="",
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


def _relevant_settings(spec: RunSpec) -> tuple[object, ...]:
    """The settings that a report depends on."""
    model, training = spec.model, spec.training
    return (
        model.model_name, model.revision, model.max_seq_length, spec.dataset, training.per_device_train_batch_size,
        training.seed if spec.dataset.test_size else None,
    )  # fmt: skip
