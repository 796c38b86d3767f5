"""Checks a run's inputs before an engine is started, without torch: clear words now instead of a crash later."""
