"""All checks of a run that are possible before an engine is started, in well under a second."""

import importlib.util
from pathlib import Path

from engine.config.fields import FieldError
from engine.config.local_paths import is_hub_id, is_template_file, local_path, non_utf8_paths
from engine.config.optimizers import PACKAGES as OPTIMIZER_PACKAGES
from engine.config.paths import runs_folder
from engine.config.quantizations import QUANTIZATIONS
from engine.config.run_spec import RunSpec
from engine.dataset.peek import check_dataset
from engine.dataset.template_file import read_template
from engine.export.llama_cpp import find_llama_cpp
from engine.hub.errors import token_source
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.preflight.model import check_model, merged_bytes, whole_run_bytes
from engine.preflight.rewards import check_rewards
from engine.preflight.vllm import vllm_problem
from engine.runs.disk_space import space_problem, write_problem

# A tracker needs any one of its packages. They are not dependencies of Loris.
TRACKER_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


def check_inputs(spec: RunSpec) -> list[FieldError]:
    """All errors in the paths and packages that a spec names, in the order of the wizard.

    Only this machine is checked; whether a Hub id exists is left to the engine.
    """
    if errors := non_utf8_paths(spec):
        return errors  # the other checks, and their texts, would fail on them
    dataset = check_dataset(spec.dataset, spec.training.method)
    return [
        *check_model(spec.model),
        *dataset,
        *_check_template(spec),
        *_check_packages(spec),
        *check_rewards(spec),
        *_check_folders(spec),
    ]


def _check_template(spec: RunSpec) -> list[FieldError]:
    try:
        if is_template_file(spec.dataset.chat_template):
            read_template(spec.dataset.chat_template)
    except UserError as error:
        return [FieldError(error.field, error.message)]
    return []


def _check_packages(spec: RunSpec) -> list[FieldError]:
    errors, tracker = [], TRACKER_PACKAGES.get(spec.training.report_to, ())
    if tracker and not any(map(_is_installed, tracker)):
        message = say("The package {package} is not installed: install it, or choose none.", package=tracker[0])
        errors.append(FieldError("training.report_to", message))
    for start, (module, package) in OPTIMIZER_PACKAGES.items():
        if spec.training.optim.startswith(start) and not _is_installed(module):
            message = say(
                "The package {package} is not installed: install it, or choose adamw_8bit.", package=package
            )
            errors.append(FieldError("training.optim", message))
    if spec.training.method == "grpo" and spec.grpo.use_vllm and (problem := vllm_problem()):
        errors.append(FieldError("grpo.use_vllm", problem))
    return errors


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _check_folders(spec: RunSpec) -> list[FieldError]:
    errors = []
    output = local_path(spec.training.output_dir) if spec.training.output_dir else runs_folder()
    if message := write_problem(output):
        errors.append(FieldError("training.output_dir", message))
    elif spec.model.full_finetuning and (message := space_problem(output, whole_run_bytes(spec))):
        errors.append(FieldError("training.save_total_limit", message))
    elif spec.export.merged_16bit and (message := space_problem(output, merged_bytes(spec.model))):
        errors.append(FieldError("export.merged_16bit", message))
    elif spec.export.gguf and (message := _gguf_error(spec, output)):
        errors.append(FieldError("export.gguf", message))
    if spec.export.push_to.strip() and (message := _push_error(spec.export.push_to.strip())):
        errors.append(FieldError("export.push_to", message))
    if spec.export.copy_to and (message := write_problem(local_path(spec.export.copy_to))):
        errors.append(FieldError("export.copy_to", message))
    return errors


def _gguf_error(spec: RunSpec, output: Path) -> Message | None:
    """Why the spec's GGUF files cannot be made: better known before the training than after it."""
    found = find_llama_cpp()
    merged = merged_bytes(spec.model)
    files = sum(merged * QUANTIZATIONS[name].bits / 16 for name in spec.export.gguf)
    return found.error or found.lacks(spec.export.gguf) or space_problem(output, round(2 * merged + files))


def _push_error(name: str) -> Message | None:
    """Why a push to this repository would fail."""
    if not is_hub_id(name):
        return say("{name} is not a valid repository name.", name=name)
    if not token_source():
        return say("Nobody is logged in to the Hub here. Log in with a token that has write access: hf auth login")
    return None
