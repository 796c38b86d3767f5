"""The GGUF quantisations: the same names and aliases as Unsloth's."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import get_args

from engine.config.quantizations import (
    ALIASES,
    NEEDS_IMATRIX,
    QUANTIZATIONS,
    QuantizationName,
    quantization_error,
    resolve_quantizations,
)


def test_the_quantisations_are_unsloths() -> None:
    spec = importlib.util.find_spec("unsloth")
    assert spec
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "save.py").read_text("utf-8")
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)  # type: ignore[attr-defined]
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") in ("ALLOWED_QUANTS", "IMATRIX_QUANTS")
    }
    assert set(tables["ALLOWED_QUANTS"]) == set(QUANTIZATIONS) | set(ALIASES)
    assert set(tables["IMATRIX_QUANTS"]) == set(NEEDS_IMATRIX)
    assert get_args(QuantizationName) == tuple(QUANTIZATIONS)


def test_names_are_resolved_without_aliases_and_duplicates() -> None:
    assert resolve_quantizations(("Q4_K_M", "quantized", " f16 ")) == ("q4_k_m", "f16")
    assert "q4_k_m" in str(quantization_error(()))
    assert "q9" in str(quantization_error(("q9",)))
    assert "importance matrix" in str(quantization_error(("iq2_xs",)))
