"""Group relative policy optimization, for forms, checks and screens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from engine.config.methods import preference
from engine.config.methods.method import History, Light, Method, Metric
from engine.config.rewards import AnyCheck, Python, entry_errors, first_entry_error
from engine.config.section import EXPLAIN, Section, about
from engine.messages.message import N_, Message, say

if TYPE_CHECKING:
    from engine.config.run_spec import RunSpec


class GrpoSpec(Section, frozen=True, kw_only=True):
    """The arguments of `trl.GRPOConfig` that only it has, and the rewards."""

    rewards: Annotated[
        tuple[str | AnyCheck, ...],
        about(
            N_("Rewards"),
            N_(
                "The checks that score an answer, each from 0 to 1, one a line: answer, regex, json, length, "
                "language, forbidden, format, similarity, reward_model, python. With settings: "
                '{"check": "regex", "pattern": "...", "weight": 0.5}'
            ),
            extra={EXPLAIN: first_entry_error},
        ),
    ] = ()
    rewards_file: Annotated[
        str,
        about(
            N_("Rewards in Python"),
            N_(
                "A Python file of yours with functions such as def short(completion, answer, row), each returning "
                "a number. You are shown it once, and confirm that it may run on this machine."
            ),
        ),
    ] = ""
    rewards_timeout: Annotated[
        float,
        about(
            N_("Time limit of a reward"),
            N_("The seconds that one call of a function in your Python file may take before the run ends."),
            gt=0,
            le=3600,
        ),
    ] = 10.0
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
    yield from _unfit_rules(spec)
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
    yield from _reward_rules(grpo)


def _reward_rules(grpo: GrpoSpec) -> Iterable[tuple[str, Message]]:
    if not grpo.rewards and not grpo.rewards_file:
        message = say("Say what a good answer is: name a check, for instance answer, or a Python file of your own.")
        yield "grpo.rewards", message
    wrong = list(entry_errors(grpo.rewards))
    yield from (("grpo.rewards", message) for message in wrong)
    asks = any(isinstance(entry, Python) or entry == "python" for entry in grpo.rewards)
    if asks and not grpo.rewards_file:
        yield "grpo.rewards_file", say("The check python needs a file: name it here.")


def _unfit_rules(spec: RunSpec) -> Iterable[tuple[str, Message]]:
    """Settings that say nothing here, or that Unsloth would change."""
    training, grpo = spec.training, spec.grpo
    loss_only = say(
        "In GRPO the loss does not say how good the answers are: turn this off, and look at the reward."
    )
    for field in ("early_stopping_patience", "load_best_model_at_end"):
        if getattr(training, field):
            yield f"training.{field}", loss_only
    if training.train_sampling_strategy == "group_by_length":
        yield (
            "training.train_sampling_strategy",
            say("GRPO groups the answers by prompt: choose random or sequential."),
        )
    if grpo.loss_type == "dr_grpo" and grpo.scale_rewards != "none":
        yield "grpo.scale_rewards", say("The loss dr_grpo leaves the rewards as they are: set this to none.")
    if grpo.loss_type == "cispo" and grpo.epsilon_high < 1:
        message = say("The loss cispo caps whole weights at this, so below 1 it caps all: 5 is usual.")
        yield "grpo.epsilon_high", message
    if grpo.use_vllm and spec.model.use_cpu:
        yield "grpo.use_vllm", say("vLLM needs a GPU: turn one of these off.")


# Rules of the lights. A judgement needs this many logged steps.
JUDGED_STEPS = 5
ALL, MANY, LONGER = 0.99, 0.5, 2.0
FAR, TOO_FAR = 1.0, 10.0  # of KL, in nats a token


def lights(history: History) -> Iterable[Light]:
    last, earlier = history[-JUDGED_STEPS:], history[:-JUDGED_STEPS]
    if len(last) < JUDGED_STEPS:
        return
    if light := _spread(last, earlier):
        yield light
    for judge in (_cut, _reward, _length, _distance):
        if light := judge(last):
            yield light


def _values(history: History, key: str) -> list[float]:
    """The values of a metric, empty if a step lacks it."""
    found = [step[key] for step in history if key in step]
    return found if len(found) == len(history) else []


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(last: History, earlier: History) -> Light | None:
    key, steps = "frac_reward_zero_std", len(last)
    if not (values := _values(last, key)):
        return None
    if min(values) >= ALL:
        before, now = _values(earlier, "reward"), _values(last, "reward")
        if before and now and _mean(now) > _mean(before):
            return Light(key, "doubtful", say("All answers to a prompt have the same, high reward: it is learned."))
        message = say(
            "In the last {steps} steps all answers to a prompt had the same reward, so nothing was learned: either "
            "all are right already, or none is. Change the rewards, or take harder or easier prompts.",
            steps=steps,
        )  # fmt: skip
        return Light(key, "bad", message)
    if _mean(values) > MANY:
        message = say("Over half of the groups have no spread: little is learned from them.")
        return Light(key, "doubtful", message)
    return Light(key, "good", say("Answers to a prompt differ in reward, so there is something to learn."))


def _cut(last: History) -> Light | None:
    key, steps = "completions/clipped_ratio", len(last)
    if not (values := _values(last, key)):
        return None
    if min(values) >= ALL:
        message = say(
            "In the last {steps} steps every answer was cut at the longest length, so none learns to end: raise "
            "max_completion_length.",
            steps=steps,
        )  # fmt: skip
        return Light(key, "bad", message)
    if _mean(values) > MANY / 2:
        return Light(key, "doubtful", say("Over a quarter of the answers are cut: raise max_completion_length."))
    return Light(key, "good", say("Most answers end by themselves."))


def _reward(last: History) -> Light | None:
    values, spread = _values(last, "reward"), _values(last, "reward_std")
    if not values or not spread:
        return None
    if values[-1] < values[0] - max(spread):
        message = say("The reward came down in the last {steps} steps: lower the learning rate.", steps=len(last))
        return Light("reward", "doubtful", message)
    return Light("reward", "good", say("The reward rises or holds."))


def _length(last: History) -> Light | None:
    key = "completions/mean_length"
    if not (values := _values(last, key)):
        return None
    if values[-1] > LONGER * values[0] and values == sorted(values):
        message = say("The answers have doubled in length in {steps} steps: add a check of the length, or beta.",
                      steps=len(last))  # fmt: skip
        return Light(key, "doubtful", message)
    return Light(key, "good", say("The answers keep their length."))


def _distance(last: History) -> Light | None:
    if not (values := _values(last, "kl")):
        return None
    mean = _mean(values)
    if mean > TOO_FAR:
        message = say("The model is far from the reference (KL {kl}): raise beta or lower the learning rate.",
                      kl=round(mean, 2))  # fmt: skip
        return Light("kl", "bad", message)
    if mean > FAR:
        return Light("kl", "doubtful", say("The model moves away from the reference (KL {kl}).", kl=round(mean, 2)))
    return Light("kl", "good", say("The model stays close to the reference."))


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
        "dataset.written_with": "chat_template",
    },
    rules=rules,
    lights=lights,
)
