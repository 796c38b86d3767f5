"""Presets of sampling settings, for those who do not want to learn five numbers first."""

from typing import Any

import msgspec

from engine.config.run_spec import GenerationSpec
from engine.messages.message import N_

_OFF = {"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
SAMPLING_PRESETS: dict[str, dict[str, Any]] = {
    "precise": {"temperature": 0.0, "min_p": 0.0, **_OFF},
    "notebook": {"temperature": 1.5, "min_p": 0.1, **_OFF},
    "lively": {"temperature": 2.0, "min_p": 0.05, **_OFF, "repetition_penalty": 1.05},
}
SAMPLING_HELP = {
    "precise": N_("precise: always the likeliest word"),
    "notebook": N_("notebook: as the Unsloth notebooks do"),
    "lively": N_("lively: surprising, sometimes wrong"),
}


def apply_sampling_preset(spec: GenerationSpec, name: str) -> GenerationSpec:
    """The same settings with the numbers of this sampling preset."""
    return msgspec.structs.replace(spec, **SAMPLING_PRESETS[name])


def sampling_preset_name(spec: GenerationSpec) -> str:
    """The name of the sampling preset with these numbers; empty if there is none."""
    return next((n for n, v in SAMPLING_PRESETS.items() if all(getattr(spec, k) == x for k, x in v.items())), "")
