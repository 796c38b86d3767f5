"""Measures a dataset before training: which tokens would be learned, and what would go wrong.

It runs in a separate process (`python -m engine.proof`), so that the terminal can end it at any time. It loads a
tokenizer but no model, and prepares the data with the same functions as the engine.
"""
