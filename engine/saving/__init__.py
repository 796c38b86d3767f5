"""Writes what was trained: adapter, merged models, GGUF. Each whole, checked, or not at all."""
