"""Texts that are shown: translation, amounts, runs, stages; and sanitising of foreign text."""
