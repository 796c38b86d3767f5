"""The section `export` of a run spec."""

from typing import Annotated

from engine.config.quantizations import QuantizationName
from engine.config.section import Section, about
from engine.messages.message import N_


class ExportSpec(Section, frozen=True, kw_only=True):
    """What to export after training, besides the LoRA adapter in the run folder, which is always saved."""

    merged_16bit: Annotated[
        bool,
        about(
            N_("Merged 16-bit model"),
            N_(
                "Also write the adapter merged into the base model, in 16 bits, as vLLM wants it. It takes "
                "as much disk as the full model: about 2 GB per billion parameters."
            ),
        ),
    ] = False
    gguf: Annotated[
        tuple[QuantizationName, ...],
        about(
            N_("GGUF files"),
            N_(
                "Also write GGUF files for llama.cpp and Ollama, one for each that is marked. q4_k_m is "
                "small and good, q8_0 nearly exact, f16 exact and large. Needs llama.cpp, and disk space "
                "for a merged model."
            ),
        ),
    ] = ()
    push_to: Annotated[
        str,
        about(
            N_("Push to the Hub"),
            N_(
                "Also push the results to this repository: owner/name, or a name alone. The adapter goes "
                "there, the merged model and GGUF files into repositories beside it. Needs a login with "
                "write access."
            ),
        ),
    ] = ""
    push_private: Annotated[
        bool,
        about(
            N_("Private repository"),
            N_("Only you see what is pushed. Switched off, everyone can, at once."),
        ),
    ] = True
    copy_to: Annotated[
        str,
        about(
            N_("Copy to folder"),
            N_(
                "Also copy the results here, for instance to a mounted drive. The folder is made if missing; "
                "files already there are never overwritten."
            ),
        ),
    ] = ""
    after_command: Annotated[
        str,
        about(
            N_("Command after success"),
            N_(
                "A shell command to run once everything that is asked for here is done, for instance to shut "
                "down the rented machine. It does not run while an export, a copy or a push is missing, and only "
                "if it was confirmed for this run."
            ),
        ),
    ] = ""
