"""Loads the base model, and says what the hardware can do."""
