"""The consent to a file of reward functions on the command line: `--allow-rewards`."""

from engine.config.fields import FieldError
from engine.config.reward_file import FIELD
from engine.config.run_spec import RunSpec
from engine.messages.message import say
from engine.preflight.rewards import unconfirmed_rewards
from engine.runs.consent import allow_rewards


def confirm_rewards(spec: RunSpec, allow: bool) -> list[FieldError]:
    """Record the consent to the spec's file; the error if it is needed and not given. Raises OSError."""
    content = unconfirmed_rewards(spec)
    if content is None:
        return []
    if allow:
        allow_rewards(content)
        return []
    message = say(
        "{path} would run with your rights on this machine. Read it, then allow it with --allow-rewards.",
        path=spec.grpo.rewards_file,
    )
    return [FieldError(FIELD, message)]
