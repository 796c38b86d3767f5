"""Exports the LoRA adapter with its tokenizer."""

from pathlib import Path

from engine.model.loading import Loaded


def export_adapter(loaded: Loaded, folder: Path) -> None:
    """Write the adapter in memory into `folder`. Raises whatever the libraries raise."""
    loaded.model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))
