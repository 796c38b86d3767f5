"""Exports of a trained model: adapter, merged weights, GGUF, Ollama, Hub. Each is complete and checked."""
