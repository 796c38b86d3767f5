"""A run in words, for the review."""

from __future__ import annotations

from engine.config.run_spec import ExportSpec, RunSpec
from tui.text.run import run_words


def test_the_review_says_what_is_saved_and_where_it_goes() -> None:
    told = run_words(RunSpec(export=ExportSpec(merged_16bit=True, gguf=("q4_k_m", "q8_0"), push_to="lin/x")), 0)[-1]
    assert told.startswith(
        "Then the adapter is saved. The merged 16-bit model is written as well. GGUF files are made: q4_k_m, q8_0. "
        "All of it is sent to the Hub: lin/x (private)."
    )
    public = run_words(RunSpec(export=ExportSpec(push_to="lin/x", push_private=False)), 0)[-1]
    assert "sent to the Hub: lin/x (public)." in public
