"""Group relative policy optimization, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from engine.config.methods import preference
from engine.config.methods.method import Method, Metric
from engine.config.section import Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


class GrpoSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.GRPOConfig` that only it has, and the rewards."""

    num_generations: Annotated[
        int,
        about(
            N_("Answers per prompt"),
            N_(
                "How many answers the model writes to each prompt; the better ones of such a group are learned, "
                "against the worse. Batch size times accumulation must be a multiple of it."
            ),
            ge=2,
            le=1024,
        ),
    ] = 8
    max_completion_length: Annotated[
        int,
        about(
            N_("Longest answer in training"),
            N_(
                "An answer is cut after this many tokens. Too short, and no answer ends: then little is learned. "
                "Most of the time is spent writing answers."
            ),
            ge=1,
            le=131_072,
        ),
    ] = 256
    temperature: Annotated[
        float,
        about(
            N_("Temperature in training"),
            N_("How much the answers of a group differ. 1 is the usual; at 0 all would be the same."),
            gt=0,
            le=5,
        ),
    ] = 1.0
    beta: Annotated[
        float,
        about(
            N_("Beta"),
            N_(
                "How strongly the model is held to what it was before. 0, the usual, does not hold it and saves a "
                "pass; 0.04 if the answers degenerate."
            ),
            ge=0,
            le=100,
        ),
    ] = 0.0
    loss_type: Annotated[
        Literal["dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"],
        about(
            N_("Loss"),
            N_(
                "dapo counts every token alike. grpo is as published and favours short answers; dr_grpo leaves out "
                "the length; luspo is for whole answers. The others clip in other ways."
            ),
        ),
    ] = "dapo"
    importance_sampling_level: Annotated[
        Literal["token", "sequence"],
        about(N_("Compare by"), N_("token, or whole answers: sequence, as in GSPO and LUSPO.")),
    ] = "token"
    scale_rewards: Annotated[
        Literal["group", "batch", "none"],
        about(N_("Scale rewards by"), N_("By the spread within a group, within the batch, or not at all.")),
    ] = "group"
    epsilon: Annotated[
        float,
        about(
            N_("Clip, low"), N_("How far one update may lower a token's probability. 0.2 is the usual."), gt=0, le=1
        ),
    ] = 0.2
    epsilon_high: Annotated[
        float,
        about(
            N_("Clip, high"),
            N_("How far one update may raise a token's probability. 0.28 as in DAPO lets rare tokens grow."),
            gt=0,
            le=10,
        ),
    ] = 0.28
    mask_truncated_completions: Annotated[
        bool,
        about(
            N_("Ignore cut answers"),
            N_(
                "Does not learn from answers that were cut at the longest length, rather than as if they had ended."
            ),
        ),
    ] = False
    use_vllm: Annotated[
        bool,
        about(
            N_("Write answers with vLLM"),
            N_("Much faster where a vLLM that fits is installed. Without it, transformers writes them."),
        ),
    ] = False
    vllm_gpu_memory_utilization: Annotated[
        float,
        about(
            N_("Memory share of vLLM"),
            N_("The share of the card's memory that vLLM may take. The rest is for training."),
            gt=0,
            lt=1,
        ),
    ] = 0.5


def rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    yield from preference.rules(spec)
    training, grpo = spec.training, spec.grpo
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    if batch % grpo.num_generations:
        message = say(
            "Batch size times accumulation is {batch}: not a multiple of {count} answers per prompt.",
            batch=batch, count=grpo.num_generations,
        )  # fmt: skip
        yield "grpo.num_generations", message
    if grpo.max_completion_length >= spec.model.max_seq_length:
        message = say("Longer than the context length of {length}: no room is left for the prompt.",
                      length=spec.model.max_seq_length)  # fmt: skip
        yield "grpo.max_completion_length", message
    if grpo.loss_type == "luspo" and grpo.importance_sampling_level != "sequence":
        yield "grpo.importance_sampling_level", say("The loss luspo needs this: sequence.")
    if grpo.importance_sampling_level == "sequence" and grpo.loss_type not in ("grpo", "sapo", "luspo"):
        message = say("With whole answers, use the loss grpo (GSPO) or luspo: {loss} counts tokens.",
                      loss=grpo.loss_type)  # fmt: skip
        yield "grpo.importance_sampling_level", message


METHOD = Method(
    title=N_("Rewards (GRPO)"),
    description=N_(
        "The model writes several answers to each prompt, checks score them, and it learns to write the better "
        "ones. Right for what can be checked: maths, formats, rules. Teach the format with a short SFT first."
    ),
    data=N_("Prompts, with the right answers if a check compares with them."),
    memory=N_("More than SFT, and most time is spent writing answers: 10 times slower or more."),
    preset="demo-grpo",
    kinds=("alpaca", "messages", "prompts"),
    trainer="engine.training.methods.grpo",
    metrics=(
        Metric("reward", N_("Reward")),
        Metric("reward_std", N_("Spread of the rewards")),
        Metric("frac_reward_zero_std", N_("Groups without spread")),
        Metric("rewards/*/mean", N_("Reward of {check}")),
        Metric("completions/mean_length", N_("Length of answers, tokens")),
        Metric("completions/clipped_ratio", N_("Answers that were cut")),
        Metric("kl", N_("Distance from the reference (KL)")),
        Metric("entropy", N_("Entropy")),
        Metric("clip_ratio/region_mean", N_("Tokens clipped")),
    ),
    defaults={
        "training.learning_rate": 5e-6,
        "training.per_device_train_batch_size": 8,
        "training.gradient_accumulation_steps": 1,
        "dataset.train_on_responses_only": True,
    },
    rules=rules,
)
