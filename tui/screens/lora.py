"""The LoRA step: the adapter that is trained."""

import math
from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from engine.config.methods import FULL_FINETUNING
from engine.messages.message import Message
from tui.screens.wizard import WizardScreen
from tui.text.translation import N_, _
from tui.widgets.literal_text import LiteralText


class LoraScreen(WizardScreen):
    """Shows the scale that follows from rank and alpha. Without an adapter there is nothing to set."""

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

    DEFAULT_CSS = """
    LoraScreen #whole-model { display: none; height: auto; }
    LoraScreen.-full #whole-model { display: block; }
    LoraScreen.-full #intro, LoraScreen.-full #lora-facts { display: none; }
    LoraScreen.-full Field, LoraScreen.-full Fold { display: none; }
    """

    def form(self) -> Iterable[Widget]:
        yield Static(
            _("The whole model is trained, without an adapter: the settings of this step do not count.")
            + "\n"
            + _("To train an adapter instead, choose another method: F3."),
            markup=False,
            id="whole-model",
        )
        fields = list(super().form())
        yield from fields[: len(self.FIELDS)]
        yield LiteralText(id="lora-facts", classes="note")
        yield from fields[len(self.FIELDS) :]

    def first_focus(self) -> Widget | None:
        return None if self.loris.draft[FULL_FINETUNING] is True else super().first_focus()

    def checked(self, errors: dict[str, Message]) -> None:
        draft = self.loris.draft
        self.set_class(draft[FULL_FINETUNING] is True, "-full")
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
