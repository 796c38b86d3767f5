"""Turns any exception into an error message for the user. Imports nothing heavy."""

from engine.hub.errors import explain_hub_error
from engine.messages.errors import UserError
from engine.runs.machine_errors import explain_crash, explain_disk, explain_gpu, explain_memory


def explain(error: BaseException, field: str = "") -> UserError:
    """`field`: the setting that names what was being downloaded, if there is one."""
    if isinstance(error, UserError):
        return error
    if found := explain_memory(error) or explain_disk(error):
        return found
    if problem := explain_hub_error(error):
        no_revision = problem.code == "hub_no_revision"
        section = "dataset" if field.startswith("dataset.") else "model"
        problem.field = f"{section}.revision" if no_revision else field
        return problem
    return explain_gpu(error) or explain_crash(error)
