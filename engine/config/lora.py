"""The section `lora` of a run spec."""

from typing import Annotated, Literal

from engine.config.section import CHOICES, Section, about
from engine.messages.message import N_

TARGET_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL_LINEAR = "all-linear"  # alone: every linear layer but the last
FULLY_TRAINED = ("embed_tokens", "lm_head")  # and norms: what Unsloth trains in full


class LoraSpec(Section, frozen=True, kw_only=True):
    """The adapter to train: the arguments of `FastLanguageModel.get_peft_model`."""

    r: Annotated[
        int,
        about(
            N_("Rank"),
            N_(
                "How many directions each adapted matrix may learn. 16 is a good start; 8 is lighter; 32 to "
                "128 learn more, cost more memory and overfit sooner."
            ),
            ge=1,
            le=1024,
        ),
    ] = 16
    lora_alpha: Annotated[
        int,
        about(
            N_("Alpha"),
            N_(
                "How strongly the adapter counts: its update is scaled by alpha divided by rank. Take the same "
                "number as the rank, or twice as much."
            ),
            ge=1,
            le=4096,
        ),
    ] = 16
    lora_dropout: Annotated[
        float,
        about(
            N_("Dropout"),
            N_(
                "The share of adapter inputs zeroed at random while training. 0 is the fastest, and right for "
                "most runs; 0.1 may help when a small dataset is learned by heart."
            ),
            ge=0,
            lt=1,
        ),
    ] = 0.0
    target_modules: Annotated[
        tuple[str, ...],
        about(
            N_("Adapted layers"),
            N_(
                "Which matrices get an adapter. All seven give the best quality. Dropping gate, up and down "
                "saves memory. all-linear takes every linear layer, for models that name theirs otherwise; a spec "
                "file can give any names."
            ),
            min_length=1,
            extra={CHOICES: (*TARGET_MODULES, ALL_LINEAR)},
        ),
    ] = TARGET_MODULES
    modules_to_save: Annotated[
        tuple[str, ...],
        about(
            N_("Trained in full"),
            N_(
                "Layers to train themselves, not through an adapter, one a line: embed_tokens and lm_head for new "
                "words or a new language. Each is a large matrix, so it costs much memory. Empty for none."
            ),
        ),
    ] = ()
    bias: Annotated[
        Literal["none", "all", "lora_only"],
        about(N_("Bias"), N_("Whether bias terms are trained too. none is the fastest and the usual choice.")),
    ] = "none"
    use_gradient_checkpointing: Annotated[
        Literal["unsloth"] | bool,
        about(
            N_("Gradient checkpointing"),
            N_(
                "Recomputes activations instead of keeping them. unsloth saves the most memory and allows the "
                "longest texts; false is the fastest if memory is plentiful."
            ),
        ),
    ] = "unsloth"
    random_state: Annotated[
        int,
        about(
            N_("Adapter seed"),
            N_("The seed of the adapter's first random weights. The same seed repeats the same run."),
            ge=0,
            le=2**32 - 1,
        ),
    ] = 3407
    use_rslora: Annotated[
        bool,
        about(
            N_("Rank-stabilised LoRA"),
            N_("Scales by alpha divided by the square root of the rank. Worth a try at rank 64 and above."),
        ),
    ] = False
    loftq_config: Annotated[
        None,
        about(
            N_("LoftQ"),
            N_(
                "LoftQ changes the base weights, and the saved adapter would not fit the published ones that it is "
                "loaded or merged with later. So it is off, as in the notebooks: keep this null."
            ),
        ),
    ] = None
