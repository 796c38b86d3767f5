"""Direct preference optimization: prefers the chosen answer to the rejected one."""

from typing import Any

from trl import DPOConfig, DPOTrainer

from engine.runtime.event_writer import EventWriter
from engine.training.pairs import PairMethod


class DPO(PairMethod):
    """Trains with `trl.DPOTrainer`. The reference is a frozen copy of the adapter as it was at the start."""

    trainer_class, config_class = DPOTrainer, DPOConfig

    def arguments(self, rows: int, record: EventWriter) -> dict[str, Any]:
        settings = self.spec.dpo
        return {
            **super().arguments(rows, record),
            "beta": settings.beta,
            "loss_type": [settings.loss_type],
            "label_smoothing": settings.label_smoothing,
            "precompute_ref_log_probs": settings.precompute_ref_log_probs,
        }


METHOD = DPO
