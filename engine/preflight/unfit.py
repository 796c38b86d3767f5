"""Whether an engine that has loaded a model can use a spec."""

from engine.config.check import check_spec
from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.preflight.check import check_inputs


def why_unfit(spec: RunSpec, loaded: RunSpec) -> UserError | None:
    """Why the spec cannot be used with the model that was loaded for another; None if it can."""
    if (spec.model, spec.scores, spec.with_vllm) != (loaded.model, loaded.scores, loaded.with_vllm):
        message = say("Another model is loaded: start a new engine for this one.")
        return UserError("model_changed", message, None, "model.model_name")
    if errors := check_spec(spec) or check_inputs(spec):
        return UserError("spec_invalid", errors[0].message, None, errors[0].field)
    return None
