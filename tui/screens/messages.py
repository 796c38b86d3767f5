"""Messages between the app and its screens, below both so that neither needs to import the other."""

from __future__ import annotations

from textual.message import Message


class RunChanged(Message):
    """Posted to the screen in front when the attached run's events or log grew."""


class ProofChanged(Message):
    """Posted to the screen in front when the proof of the data has news."""
