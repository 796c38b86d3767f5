"""What GRPO learns from: checks that score answers, and the user's own functions."""

from engine.rewards.build import rewards_for
from engine.rewards.reward import AnswerSample, Reward

__all__ = ["AnswerSample", "Reward", "rewards_for"]
