"""Measures a dataset before anything is trained: which tokens would be learned, and what would go wrong.

A process of its own (`python -m engine.proof`), so that the terminal can end it at any time. It holds a tokenizer
and no model, and uses the very functions with which the engine prepares the data.
"""
