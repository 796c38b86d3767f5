"""Direct preference optimization, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Literal

from engine.config.methods import preference
from engine.config.methods.method import History, Light, Method, Metric
from engine.config.methods.preference_lights import falling_lights, pair_lights
from engine.config.section import Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec

SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")  # the losses that read label_smoothing
NEED_SMOOTHING = ("robust", "exo_pair")


class DpoSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.DPOConfig` that only it has."""

    beta: Annotated[
        float,
        about(
            N_("Beta"),
            N_(
                "How strongly the model is held to what it was before. 0.1 is the usual; lower it for a bolder "
                "change, raise it if the answers get worse."
            ),
            gt=0,
            le=100,
        ),
    ] = 0.1
    loss_type: Annotated[
        Literal[
            "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
            "aot_unpaired", "apo_zero", "apo_down", "discopop", "sigmoid_norm",
        ],
        about(
            N_("Loss"),
            N_(
                "sigmoid is DPO as published. ipo overfits less on clear-cut pairs; robust expects some pairs to "
                "be swapped; apo_zero suits chosen answers that are better than the model's own."
            ),
        ),
    ] = "sigmoid"  # fmt: skip
    label_smoothing: Annotated[
        float,
        about(
            N_("Share of swapped pairs"),
            N_("The share of pairs whose sides are expected to be swapped. 0 trusts them all; robust needs it."),
            ge=0,
            lt=0.5,
        ),
    ] = 0.0
    precompute_ref_log_probs: Annotated[
        bool,
        about(
            N_("Compute the reference first"),
            N_(
                "Computes what the model thought of all answers before training, once, instead of at every step: "
                "less time per step, more time before the first."
            ),
        ),
    ] = False


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    yield from chain(
        preference.rules(spec), preference.without_dropout(spec), preference.without_adapter_on_head(spec)
    )
    loss, smoothing = spec.dpo.loss_type, spec.dpo.label_smoothing
    if loss in NEED_SMOOTHING and not smoothing:
        message = say("The loss {loss} needs the share of pairs that may be swapped: set 0.1, say.", loss=loss)
        yield "dpo.label_smoothing", message
    if smoothing and loss not in SMOOTHED:
        message = say("Only these losses use it: {losses}. Set it to 0.", losses=", ".join(SMOOTHED))
        yield "dpo.label_smoothing", message


def lights(history: History) -> Iterable[Light]:
    """By `pair_lights` and `falling_lights`."""
    return chain(pair_lights(history), falling_lights(history))


METHOD = Method(
    title=N_("Preferences (DPO)"),
    description=N_(
        "The model learns to prefer one answer to another. Right for tone, style and safety, after SFT or with an "
        "instruct model."
    ),
    data=N_("Pairs: a prompt with a chosen and a rejected answer."),
    memory=N_("About twice the activations of SFT for the same batch: each row is two texts, and a reference."),
    preset="demo-dpo",
    kinds=("preference",),
    trainer="engine.training.methods.dpo",
    metrics=(
        *preference.REWARDS,
        Metric("logps/chosen", N_("Log-probability, chosen")),
        Metric("logps/rejected", N_("Log-probability, rejected")),
    ),
    defaults={"training.learning_rate": 5e-6, "dataset.train_on_responses_only": True},
    rules=rules,
    lights=lights,
)
