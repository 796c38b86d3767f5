"""The GGUF quantisations, by Unsloth's names. A test compares the names with Unsloth's own table."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from engine.messages.message import N_, Message, say


@dataclass(frozen=True)
class Quantization:
    """`bits`: per weight, approximately, to estimate file sizes. `use`: what it is good for."""

    bits: float
    use: str


QuantizationName = Literal[
    "q4_k_m", "q5_k_m", "q8_0", "f16", "bf16", "f32", "q6_k", "q5_k_s", "q5_1", "q5_0", "q4_k_s", "q4_1",
    "q4_0", "q3_k_l", "q3_k_m", "q3_k_s", "q3_k_xs", "q2_k_l", "q2_k",
]  # fmt: skip
QUANTIZATIONS: MappingProxyType[str, Quantization] = MappingProxyType(
    {
        "q4_k_m": Quantization(4.9, N_("Recommended: small, and close to the original.")),
        "q5_k_m": Quantization(5.7, N_("A little larger and a little better than q4_k_m.")),
        "q8_0": Quantization(8.5, N_("Nearly exact, half the size of 16 bits.")),
        "f16": Quantization(16, N_("16 bits: exact, large and slow.")),
        "bf16": Quantization(16, N_("16 bits as most models are trained: exact, large and slow.")),
        "f32": Quantization(32, N_("32 bits: twice as large as f16, for no gain.")),
        "q6_k": Quantization(6.6, N_("Between q5_k_m and q8_0.")),
        "q5_k_s": Quantization(5.6, N_("A little smaller than q5_k_m.")),
        "q5_1": Quantization(6.0, N_("An older 5-bit format: slower and larger than q5_k_m.")),
        "q5_0": Quantization(5.5, N_("An older 5-bit format.")),
        "q4_k_s": Quantization(4.7, N_("A little smaller than q4_k_m.")),
        "q4_1": Quantization(5.0, N_("An older 4-bit format, better than q4_0.")),
        "q4_0": Quantization(4.6, N_("The first 4-bit format: fast everywhere.")),
        "q3_k_l": Quantization(4.3, N_("3 bits, the largest of them: loses quality.")),
        "q3_k_m": Quantization(3.9, N_("3 bits: noticeable loss of quality.")),
        "q3_k_s": Quantization(3.5, N_("3 bits, the smallest of them: loses much.")),
        "q3_k_xs": Quantization(3.3, N_("3 bits, extra small: loses much.")),
        "q2_k_l": Quantization(
            3.6, N_("2 bits with more precise first and last layers: only if nothing larger fits.")
        ),
        "q2_k": Quantization(3.0, N_("2 bits: for a model that fits no other way.")),
    }
)
# Unsloth's other names for them. not_quantized: the 16 bits that the model has.
ALIASES = MappingProxyType(
    {
        "not_quantized": "f16", "fast_quantized": "q8_0", "quantized": "q4_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m",
    }
)  # fmt: skip
# Written by the converter itself; llama-quantize makes the others from one of these.
UNQUANTIZED = ("f32", "f16", "bf16")
NEEDS_IMATRIX = (
    "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq3_xxs", "iq3_s", "iq3_m", "iq4_nl", "iq4_xs",
)  # fmt: skip


def resolve_quantizations(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Names without aliases and duplicates, in order. Raises ValueError; see `quantization_error`."""
    if message := quantization_error(asked):
        raise ValueError(str(message))
    return tuple(dict.fromkeys(ALIASES.get(name.strip().lower(), name.strip().lower()) for name in asked))


def quantization_error(asked: tuple[str, ...]) -> Message | None:
    """Why these names cannot be used; None if they can."""
    if not asked:
        return say("Name a quantisation, for instance q4_k_m.")
    for name in (name.strip().lower() for name in asked):
        if name in NEEDS_IMATRIX:
            return say(
                "{name} needs an importance matrix, which Loris does not make: use q2_k or q3_k_m.", name=name
            )
        if name not in QUANTIZATIONS and name not in ALIASES:
            return say(
                'There is no quantisation "{name}". Use one of: {names}.',
                name=name, names=", ".join(QUANTIZATIONS),
            )  # fmt: skip
    return None


def export_folder_name(kind: str, quantizations: tuple[str, ...] = ()) -> str:
    """The name of an export's folder inside the run's exports."""
    return "-".join([kind, *quantizations]) if kind == "gguf" else kind


# With several pushed kinds, each has its own repository: the suffix for all kinds but the first.
REPO_SUFFIXES = MappingProxyType(
    {"adapter": "LoRA", "model": "model", "merged_16bit": "16bit", "merged_4bit": "bnb-4bit", "gguf": "GGUF"}
)


def repo_name(name: str, kind: str, first: bool) -> str:
    """The repository name for one of several kinds that are pushed under a name."""
    return name if first else f"{name}-{REPO_SUFFIXES[kind]}"
