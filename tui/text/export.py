"""Texts of exports: names of the formats, plan, progress, and the state of llama.cpp."""

from collections.abc import Sequence

from engine.export.llama_cpp import LlamaCpp
from engine.export.plan import Plan, export_bytes, plan
from engine.protocol.commands import ExportProgress, ExportStep
from engine.protocol.events import ExportKind
from tui.text.amounts import size
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

__all__ = [
    "Plan", "describe_export_progress", "describe_export_step", "describe_llama_cpp", "describe_plan",
    "export_bytes", "format_name", "plan",
]  # fmt: skip

FORMATS: dict[ExportKind, str] = {
    "adapter": N_("LoRA adapter"),
    "model": N_("Whole model"),
    "merged_16bit": N_("Merged 16-bit model"),
    "merged_4bit": N_("Merged 4-bit model"),
    "gguf": N_("GGUF"),
}
STEPS: dict[ExportStep, str] = {
    "merging": N_("merging the adapter into the base model"),
    "converting": N_("converting to GGUF"),
    "quantizing": N_("quantising"),
    "copying": N_("copying"),
    "verifying": N_("loading it back to check it"),
    "hashing": N_("computing the checksums"),
    "ollama": N_("adding it to Ollama"),
}
UNITS = {"tensors": N_("tensors"), "layers": N_("layers")}


def format_name(kind: ExportKind, quantizations: Sequence[str] = ()) -> str:
    """An export format as users see it, for example: GGUF q4_k_m."""
    return " ".join([_(FORMATS[kind]), *quantizations])


def describe_plan(found: Plan) -> str:
    """Where the export would go and what it needs, or why it cannot be made."""
    if found.error:
        return "✗ " + visible(render(found.error))
    words = _("It will be at {path}. Free there: {free}.").format(path=found.target, free=size(found.free_bytes))
    if found.temporary_bytes:
        words += " " + _("It needs {size} more while it is made.").format(size=size(found.temporary_bytes))
    return visible(words)


def describe_llama_cpp(found: LlamaCpp) -> str:
    """Where llama.cpp is, or what to do without it."""
    if found.error:
        return "✗ " + visible(render(found.error))
    words = _("llama.cpp is there: {folder} {version}").format(folder=found.folder or "", version=found.version)
    return "✓ " + visible(words.strip())


def describe_export_step(step: ExportProgress) -> str:
    """The current step, for example: quantising q4_k_m."""
    return _(STEPS.get(step.step, step.step)) + (f" {step.what}" if step.what else "")


def describe_export_progress(step: ExportProgress) -> str:
    """The progress, for example: quantising q4_k_m, 12/40 tensors (30%)."""
    words = describe_export_step(step)
    if step.total:
        if step.unit == "bytes":
            count = _("{part} of {whole}").format(part=size(step.done), whole=size(step.total))
        else:
            unit = _(UNITS[step.unit]) if step.unit in UNITS else ""
            count = f"{step.done}/{step.total} {unit}".strip()
        words += f", {count} ({100 * step.done // step.total}%)"
    return visible(words)
