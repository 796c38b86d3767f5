"""Loads the base model, and detects what the hardware supports."""
