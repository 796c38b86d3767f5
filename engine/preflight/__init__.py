"""Checks a run's inputs before an engine is started, without torch: clear words now instead of a crash later."""

from engine.preflight.check import check_inputs
from engine.preflight.data import Peek, peek
from engine.preflight.places import is_hub_id, is_local, local_path

__all__ = ["Peek", "check_inputs", "is_hub_id", "is_local", "local_path", "peek"]
