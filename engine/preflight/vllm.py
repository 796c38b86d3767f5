"""Whether the installed vLLM can write the answers of GRPO, without importing it."""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from engine.messages.message import Message, say


def vllm_problem() -> Message | None:
    """Why the installed packages cannot use vLLM; None if they fit. Whether it runs shows when it is loaded."""
    needed = next(
        (one for line in requires("trl") or () if (one := Requirement(line)).name == "vllm"), Requirement("vllm")
    )
    try:
        installed = version("vllm")
    except PackageNotFoundError:
        return say(
            "vLLM is not installed: install {versions}, or turn this off.", versions=f"vllm{needed.specifier}"
        )
    if Version(installed).base_version not in needed.specifier:
        return say(
            "vLLM {version} does not fit TRL, which needs {versions}: install one, or turn this off.",
            version=installed, versions=f"vllm{needed.specifier}",
        )  # fmt: skip
    return None
