"""Explains why a push failed. Does not import `huggingface_hub`."""

from engine.hub.errors import HubError, explain_hub_error
from engine.messages.errors import causes
from engine.messages.message import N_, say
from engine.runs.machine_errors import disk_full, explain_crash, explain_disk, explain_memory

WRITE_HINT = N_("Create a token with write access in the Hub's settings, then: hf auth login --force")


def explain_push_error(error: Exception, repo_id: str, given: bool) -> HubError:
    """The `HubError` for an exception of a push. `given`: the token came with the command."""
    if isinstance(error, HubError):
        return error
    problem = explain_hub_error(error, repo_id, "HF_TOKEN" if given else None)
    if problem and problem.code == "hub_bad_token":
        if given:
            return unknown_token()
        problem.field = "token"
        return problem
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if found := _by_status(status, repo_id):
            return found
        if type(cause).__name__ == "LocalTokenNotFoundError":
            return no_login()
        if isinstance(cause, ValueError) and "README.md" in str(cause):
            reason = str(cause).splitlines()[-1][:300]
            message = say("The Hub rejects the model card: {reason}", reason=reason)
            hint = say("Correct the lines between the two --- at its top.")
            return HubError("card_invalid", message, hint, "card")
        if isinstance(cause, OSError) and cause.errno == 28:
            return HubError("disk_full", disk_full(cause.filename))
    if problem is None:
        why = explain_memory(error) or explain_disk(error) or explain_crash(error)
        return HubError(why.code, why.message, why.hint)
    if problem.code == "hub_offline":
        message = say("The Hugging Face Hub cannot be reached.")
        return HubError(problem.code, message, say("Check the network, then push again."), retryable=True)
    return problem


def _by_status(status: int | None, repo_id: str) -> HubError | None:
    """The error for a status that means something else for a push than for a download."""
    if status == 401:
        return no_login()
    if status == 403:
        return HubError(
            "hub_no_write",
            say("The token has no write access to {repo}.", repo=repo_id),
            say(WRITE_HINT),
            "token",
        )
    if status == 409:
        return HubError(
            "hub_conflict",
            say("{repo} was changed at the same time.", repo=repo_id),
            say("Push again."),
            retryable=True,
        )
    if status == 413:
        return HubError(
            "hub_too_large",
            say("The Hub rejects a file of this size."),
            say("Export it in smaller parts, or push the adapter alone."),
        )
    if status == 422:
        return HubError(
            "hub_mismatch",
            say("What arrived at the Hub differs from what was sent."),
            say("Push again."),
            retryable=True,
        )
    return None


def unknown_token() -> HubError:
    return HubError(
        "hub_bad_token",
        say("The given token is not valid."),
        say("Copy the complete token again, or create a new one on the Hub."),
        "token",
    )


def no_login() -> HubError:
    return HubError(
        "hub_no_login",
        say("Nobody is logged in to the Hub here."),
        say("Log in with a token that has write access: hf auth login, or give the token here."),
        "token",
    )
