"""What the Save screen says: before anything is saved, while it is, and of llama.cpp."""

from __future__ import annotations

from engine.export.llama_cpp import LlamaCpp
from engine.export.plan import Plan, needed, plan
from engine.protocol.commands import ExportProgress, ExportStep
from tui.text.amounts import size
from tui.text.sanitize import visible
from tui.text.translation import N_, _, render

__all__ = ["Plan", "llama_words", "needed", "plan", "plan_words", "progress_words"]

STEPS: dict[ExportStep, str] = {
    "merging": N_("merging the adapter into the base model"),
    "converting": N_("converting to GGUF"),
    "quantizing": N_("quantising"),
    "copying": N_("copying"),
    "verifying": N_("loading it back to check it"),
    "hashing": N_("computing the checksums"),
    "ollama": N_("handing it to Ollama"),
}
UNITS = {"tensors": N_("tensors"), "layers": N_("layers")}


def plan_words(found: Plan) -> str:
    """Where it would be and what it takes, or why it cannot be."""
    if found.error:
        return "✗ " + visible(render(found.error))
    words = _("It will be at {path}. Free there: {free}.").format(path=found.target, free=size(found.free_bytes))
    if found.temporary_bytes:
        words += " " + _("While it is made it takes {size} more.").format(size=size(found.temporary_bytes))
    return visible(words)


def llama_words(found: LlamaCpp) -> str:
    """Whether llama.cpp is there, or what to do."""
    if found.error:
        return "✗ " + visible(render(found.error))
    words = _("llama.cpp is there: {folder} {version}").format(folder=found.folder or "", version=found.version)
    return "✓ " + visible(words.strip())


def step_words(step: ExportProgress) -> str:
    """What an export does, such as: quantising q4_k_m."""
    return _(STEPS.get(step.step, step.step)) + (f" {step.what}" if step.what else "")


def progress_words(step: ExportProgress) -> str:
    """How far an export is, such as: quantising q4_k_m, 12 of 40 tensors (30%)."""
    words = step_words(step)
    if step.total:
        if step.unit == "bytes":
            count = _("{part} of {whole}").format(part=size(step.done), whole=size(step.total))
        else:
            unit = _(UNITS[step.unit]) if step.unit in UNITS else ""
            count = f"{step.done}/{step.total} {unit}".strip()
        words += f", {count} ({100 * step.done // step.total}%)"
    return visible(words)
