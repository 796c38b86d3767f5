"""Answers of the model: with the adapter, from the base model, or with another run's adapter."""
