"""The app's hold on the proof of its dataset: the worker, and the last report with the settings it is of."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from engine.client.proof import ProofWorker
from engine.spec.report import AnyProof, DataReport, ProofFailed
from engine.spec.run import RunSpec


class Prover(Protocol):
    """Who measures; `ProofWorker` in the product, a fake in tests of the screens."""

    def prove(self, spec: RunSpec) -> AsyncGenerator[AnyProof, None]: ...
    def close(self) -> None: ...


class Proofs:
    """Asks the prover, and remembers its last word."""

    def __init__(self, prover: Prover | None = None) -> None:
        self._prover: Prover = prover or ProofWorker()
        self._of: RunSpec | None = None
        self._last: DataReport | ProofFailed | None = None

    async def prove(self, spec: RunSpec) -> AsyncGenerator[AnyProof, None]:
        """Progress, then the report. Close it early to stop the measuring."""
        async with aclosing(self._prover.prove(spec)) as answers:
            async for answer in answers:
                if isinstance(answer, DataReport | ProofFailed):
                    self._of, self._last = spec, answer
                yield answer

    def known(self, spec: RunSpec) -> DataReport | ProofFailed | None:
        """The last word, if it is on this very data and model."""
        if self._of is None or self._key(self._of) != self._key(spec):
            return None
        return self._last

    @staticmethod
    def _key(spec: RunSpec) -> tuple[object, ...]:
        return spec.model, spec.dataset, spec.training.per_device_train_batch_size

    def close(self) -> None:
        """End the worker."""
        self._prover.close()
