"""The LoRA step: the adapter that is trained."""

import math
from collections.abc import Iterable

from textual.widget import Widget

from engine.messages.message import Message
from tui.screens.wizard import WizardScreen
from tui.text.translation import N_, _
from tui.widgets.literal_text import LiteralText


class LoraScreen(WizardScreen):
    """Shows the scale that follows from rank and alpha."""

    STEP = "lora"
    INTRO = N_(
        "A LoRA adapter is a small set of extra weights; only these are trained. The values below suit most runs."
    )
    FIELDS = ("lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.target_modules")
    FOLDS = (
        (
            N_("More LoRA settings"),
            (
                "lora.modules_to_save",
                "lora.bias",
                "lora.use_gradient_checkpointing",
                "lora.use_rslora",
                "lora.random_state",
            ),
        ),
    )

    def form(self) -> Iterable[Widget]:
        fields = list(super().form())
        yield from fields[: len(self.FIELDS)]
        yield LiteralText(id="lora-facts", classes="note")
        yield from fields[len(self.FIELDS) :]

    def checked(self, errors: dict[str, Message]) -> None:
        draft = self.loris.draft
        rank, alpha = draft["lora.r"], draft["lora.lora_alpha"]
        words = ""
        if not {"lora.r", "lora.lora_alpha"} & errors.keys():
            root = draft["lora.use_rslora"] is True
            scale = alpha / (math.sqrt(rank) if root else rank)
            words = _("The adapter's update is scaled by {scale} (alpha {alpha}, rank {rank}).").format(
                scale=f"{scale:.3g}", alpha=alpha, rank=rank
            )
            if scale > 4:
                words += " " + _("That is much: training may become unstable.")
        self.query_one("#lora-facts", LiteralText).set_text(words)
