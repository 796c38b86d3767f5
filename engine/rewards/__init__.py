"""What GRPO learns from: checks that score answers, and the user's own functions."""

from engine.rewards.build import rewards_for
from engine.rewards.reward import Reward, Sample

__all__ = ["Reward", "Sample", "rewards_for"]
