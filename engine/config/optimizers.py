"""The optimizers and schedules of the installed transformers, and what each needs."""

from typing import Literal

OptimizerName = Literal[
    "adamw_8bit", "paged_adamw_8bit", "adamw_torch", "adamw_torch_fused",
    "adamw_bnb_8bit", "paged_adamw_32bit", "adamw_torch_4bit", "adamw_torch_8bit", "adamw_anyprecision",
    "adafactor", "sgd", "adagrad", "rmsprop", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
    "lion_8bit", "lion_32bit", "paged_lion_8bit", "paged_lion_32bit",
    "ademamix", "ademamix_8bit", "paged_ademamix_8bit", "paged_ademamix_32bit",
    "stable_adamw", "grokadamw", "schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd",
    "galore_adamw", "galore_adamw_8bit", "galore_adafactor",
    "galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise",
    "apollo_adamw", "apollo_adamw_layerwise", "lomo", "adalomo", "adamw_torch_xla", "adamw_torch_npu_fused",
]  # fmt: skip
ScheduleName = Literal[
    "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "reduce_lr_on_plateau", "greedy",
]  # fmt: skip

ON_CPU: OptimizerName = "adamw_torch_fused"  # instead of one that needs a GPU
NEEDS_GPU = frozenset(
    (
        "adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adamw_torch_4bit",
        "adamw_torch_8bit", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit", "lion_8bit", "lion_32bit",
        "paged_lion_8bit", "paged_lion_32bit", "ademamix", "ademamix_8bit", "paged_ademamix_8bit",
        "paged_ademamix_32bit",
    )
)  # fmt: skip
# The package to import, and its name for pip, by the start of the optimizer's name. No dependencies of Loris.
PACKAGES = {
    "schedule_free": ("schedulefree", "schedulefree"),
    "stable_adamw": ("optimi", "torch-optimi"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "adamw_anyprecision": ("torchdistx", "torchdistx"),
    "galore": ("galore_torch", "galore-torch"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "adalomo": ("lomo_optim", "lomo-optim"),
}
FULL_MATRICES = ("galore", "apollo", "lomo", "adalomo")  # starts of names
PROJECTED = ("galore", "apollo")  # of them, those that must be told which layers
OTHER_HARDWARE = frozenset(("adamw_torch_xla", "adamw_torch_npu_fused"))
BY_EVALUATION = frozenset(("reduce_lr_on_plateau", "greedy"))  # these follow the loss on the held-out rows

FINAL_SHARE = 0.1  # of the learning rate, where a schedule stops falling
# What a schedule needs besides the warm-up.
SCHEDULE_ARGUMENTS: dict[str, dict[str, float]] = {
    "cosine_with_min_lr": {"min_lr_rate": FINAL_SHARE},
    "cosine_warmup_with_min_lr": {"min_lr_rate": FINAL_SHARE},
}
DECAY_SHARE = 0.1  # of the steps, in which warmup_stable_decay falls
