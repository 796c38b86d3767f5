"""Scores answers with the reward model in memory."""

from collections.abc import Sequence

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model.loading import Loaded
from engine.model.reward_model import has_trained_head, scores_of
from engine.prompting.prompt_format import PromptFormat, encode


def score_answers(
    loaded: Loaded, prompt_format: PromptFormat, spec: RunSpec, prompt: str, answers: Sequence[str]
) -> tuple[float, ...]:
    """The scores of answers to a prompt. Raises `UserError` if the model cannot score, or not a text so long."""
    if not loaded.scores:
        raise UserError("not_a_reward_model", say("This model writes answers: only a reward model scores them."))
    if not has_trained_head(loaded.model):
        raise UserError("not_trained", say("There is nothing to score with yet: train first."))
    system, limit = spec.generation.system_prompt, spec.model.max_seq_length
    texts = [prompt_format.answered_text(loaded.tokenizer, prompt, answer, system) for answer in answers]
    ids = [encode(loaded.tokenizer, text) for text in texts]
    if (longest := max(map(len, ids), default=0)) > limit:
        raise UserError(
            "prompt_too_long",
            say("Prompt and answer have {tokens} tokens; the model was trained on at most {limit}.",
                tokens=longest, limit=limit),
        )  # fmt: skip
    return tuple(scores_of(loaded.model, ids))
