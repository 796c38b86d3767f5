"""Generates answers: with the adapter, from the base model, or with another run's adapter."""
