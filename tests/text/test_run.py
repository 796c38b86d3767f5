"""The description of a run, for the review."""

from __future__ import annotations

from engine.config.run_spec import ExportSpec, RunSpec
from tui.text.run import describe_run


def test_the_review_describes_what_is_exported_and_where_to() -> None:
    lines = describe_run(
        RunSpec(export=ExportSpec(merged_16bit=True, gguf=("q4_k_m", "q8_0"), push_to="lin/x")), 0
    )[-1]
    assert lines.startswith(
        "Then the adapter is saved. The merged 16-bit model is written as well. GGUF files are made: q4_k_m, q8_0. "
        "Everything is pushed to the Hub: lin/x (private)."
    )
    public = describe_run(RunSpec(export=ExportSpec(push_to="lin/x", push_private=False)), 0)[-1]
    assert "pushed to the Hub: lin/x (public)." in public
