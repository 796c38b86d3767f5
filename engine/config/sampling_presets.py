"""Named ways to sample an answer, for those who do not want to learn five numbers first."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.config.run_spec import GenerationSpec
from engine.messages.message import N_

_OFF = {"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "precise": {"temperature": 0.0, "min_p": 0.0, **_OFF},
    "notebook": {"temperature": 1.5, "min_p": 0.1, **_OFF},
    "lively": {"temperature": 2.0, "min_p": 0.05, **_OFF, "repetition_penalty": 1.05},
}
ABOUT = {
    "precise": N_("precise: always the likeliest word"),
    "notebook": N_("notebook: as the Unsloth notebooks do"),
    "lively": N_("lively: surprising, sometimes wrong"),
}


def sampled(spec: GenerationSpec, name: str) -> GenerationSpec:
    """The same with the numbers of this way of sampling."""
    return msgspec.structs.replace(spec, **SAMPLINGS[name])


def name_of(spec: GenerationSpec) -> str:
    """The name of how it samples; empty where it has none."""
    return next((n for n, v in SAMPLINGS.items() if all(getattr(spec, k) == x for k, x in v.items())), "")
