"""The Training step: length, learning rate, batch size."""

from collections.abc import Iterable

from textual import work
from textual.widget import Widget

from engine.config.run_spec import DatasetSpec
from engine.messages.message import Message
from tui.screens.wizard import WizardScreen
from tui.state.dataset_cache import peek_local
from tui.text.training import Amounts, amounts_of, describe_training
from tui.text.translation import N_
from tui.widgets.literal_text import LiteralText


class TrainingScreen(WizardScreen):
    """Shows the steps and epochs that follow from the batch size and the dataset."""

    STEP = "training"
    INTRO = N_("How long to train, and in what portions.")
    FIELDS = (
        "training.per_device_train_batch_size",
        "training.gradient_accumulation_steps",
        "training.max_steps",
        "training.num_train_epochs",
        "training.learning_rate",
        "training.warmup_steps",
        "training.lr_scheduler_type",
    )
    FOLDS = (
        (
            N_("More training settings"),
            (
                "training.warmup_ratio",
                "training.optim",
                "training.weight_decay",
                "training.max_grad_norm",
                "training.neftune_noise_alpha",
                "training.seed",
                "training.logging_steps",
                "training.save_steps",
                "training.save_strategy",
                "training.save_total_limit",
                "training.eval_steps",
                "training.eval_strategy",
                "training.per_device_eval_batch_size",
                "training.eval_accumulation_steps",
                "training.load_best_model_at_end",
                "training.early_stopping_patience",
                "training.early_stopping_threshold",
                "training.train_sampling_strategy",
                "training.packing",
                "training.dataset_num_proc",
                "training.retry_out_of_memory",
                "training.report_to",
            ),
        ),
    )
    _rows = 0

    def form(self) -> Iterable[Widget]:
        fields = list(super().form())
        yield from fields[: len(self.FIELDS)]
        yield LiteralText(id="training-facts", classes="note")
        yield from fields[len(self.FIELDS) :]

    def begin(self) -> None:
        self._count(self.loris.draft.valid_parts().dataset)

    @work(thread=True, exclusive=True)
    def _count(self, data: DatasetSpec) -> None:
        seen = peek_local(data)
        self.app.call_from_thread(self._counted, seen.total if seen else 0)

    def _counted(self, rows: int) -> None:
        self._rows = rows
        if self.is_mounted:
            self.check()

    def checked(self, errors: dict[str, Message]) -> None:
        amounts: Amounts | None = amounts_of(self.loris.draft.__getitem__, self._rows) if not errors else None
        words = describe_training(amounts) if amounts else ""
        self.query_one("#training-facts", LiteralText).set_text(words)
