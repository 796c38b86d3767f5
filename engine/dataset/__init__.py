"""Reads data files, detects their format and maps each row to a training example.

The terminal's preview and the engine use the same rules. Imports no training library.
"""
