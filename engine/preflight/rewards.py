"""Checks the files that the rewards of a GRPO spec name, before anything is loaded. The user's code is not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.config.fields import FieldError
from engine.config.local_paths import local_path
from engine.config.reward_file import functions_in, read_reward_file
from engine.config.rewards import AnyCheck, Json, Python, RewardModel, checks_of
from engine.config.run_spec import RunSpec
from engine.config.schema_file import schema_of
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.runs.consent import are_rewards_allowed

METHOD = "grpo"


def check_rewards(spec: RunSpec) -> Iterator[FieldError]:
    """An error for each file that cannot be used."""
    if spec.training.method != METHOD:
        return
    try:
        functions = _functions(spec.grpo.rewards_file)
    except UserError as error:
        yield FieldError(error.field, error.message)
        functions = None
    for number, check in enumerate(checks_of(spec.grpo.rewards, ""), 1):
        if reason := _file_error(check, functions):
            values = {**reason.values, "entry": f"#{number} {check.name}"}
            yield FieldError("grpo.rewards", Message(reason.template, values))


def _functions(file: str) -> list[str] | None:
    """The functions in the user's file; None without one. Raises `UserError`."""
    return functions_in(read_reward_file(local_path(file)), local_path(file)) if file else None


def _file_error(check: AnyCheck, functions: list[str] | None) -> Message | None:
    match check:
        case Json(schema_file=file) if file:
            try:
                schema_of(check)
            except UserError as error:
                return error.message
        case RewardModel(path=path) if not is_adapter(local_path(path)):
            return say("{entry}: there is no trained reward model in {path}.", path=path)
        case Python(function=name) if name and functions is not None and name not in functions:
            return say("{entry}: the file has no function {name}; it has: {names}.",
                       name=name, names=", ".join(functions))  # fmt: skip
    return None


def is_adapter(path: Path) -> bool:
    """Whether this is a run's folder, or the folder of its adapter."""
    return any((folder / "adapter_config.json").is_file() for folder in (path, path / "adapter"))


def unconfirmed_rewards(spec: RunSpec) -> bytes | None:
    """The content of the user's file of reward functions, if it has to be confirmed before a run; else None."""
    if spec.training.method != METHOD or not spec.grpo.rewards_file:
        return None
    try:
        content = read_reward_file(local_path(spec.grpo.rewards_file))
    except UserError:
        return None  # the other checks report it
    return None if are_rewards_allowed(content) else content
