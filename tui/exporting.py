"""What the Save screen shows before anything is saved."""

from __future__ import annotations

from engine.preflight.export import Plan, needed, plan

__all__ = ["Plan", "needed", "plan"]
