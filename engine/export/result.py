"""Exports what training made: the LoRA adapter, or the whole model, with its tokenizer."""

from pathlib import Path

from engine.export.merge import add_vocabulary
from engine.model.loading import Loaded


def export_result(loaded: Loaded, folder: Path) -> None:
    """Write the adapter in memory, or all weights, into `folder`. Raises whatever the libraries raise."""
    config = loaded.model.config
    use_cache = getattr(config, "use_cache", True)
    if loaded.whole:
        config.use_cache = True  # training turns it off, and without it answers are slow
    try:
        loaded.model.save_pretrained(str(folder))
    finally:
        config.use_cache = use_cache
    loaded.tokenizer.save_pretrained(str(folder))
    if loaded.whole:
        add_vocabulary(loaded.model, loaded.tokenizer, folder)
