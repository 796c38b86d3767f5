"""Sends something saved to the Hugging Face Hub: in a process of its own, so that it can always be ended."""
