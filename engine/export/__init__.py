"""Every way out: adapter, merged weights, GGUF, Ollama, Hub. Each whole and checked, or not there at all."""
