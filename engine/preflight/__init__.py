"""Checks a run's inputs before an engine is started, without torch: a clear error now instead of a crash later."""
