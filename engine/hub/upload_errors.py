"""Why a push cannot go on, in words. Imports nothing of the Hub's library."""

from __future__ import annotations

from engine.hub.errors import causes, hub_problem
from engine.hub.upload_job import PushError
from engine.messages.message import N_, say
from engine.runtime.failures import disk_full, explain

WRITE_HINT = N_("Make a token that may write in the Hub's settings, then: hf auth login --force")


def explain_push(error: Exception, repo_id: str, given: bool) -> tuple[PushError, float]:
    """(the failure in words, the seconds that the Hub asks to wait). `given`: the token came with the command."""
    if isinstance(error, PushError):
        return error, 0.0
    problem = hub_problem(error, repo_id, "HF_TOKEN" if given else None)
    if problem and problem.code == "hub_bad_token":
        if given:
            return unknown_token(), 0.0
        return PushError(problem.code, problem.message, problem.hint, "token"), 0.0
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if found := _by_status(status, repo_id):
            return found, 0.0
        if type(cause).__name__ == "LocalTokenNotFoundError":
            return no_login(), 0.0
        if isinstance(cause, ValueError) and "README.md" in str(cause):
            reason = str(cause).splitlines()[-1][:300]
            message = say("The Hub refuses the model card: {reason}", reason=reason)
            hint = say("Correct the lines between the two --- at its top.")
            return PushError("card_invalid", message, hint, "card"), 0.0
        if isinstance(cause, OSError) and cause.errno == 28:
            return PushError("disk_full", disk_full(cause.filename)), 0.0
    if problem is None:
        why = explain(error)
        return PushError(why.code, why.message, why.hint), 0.0
    if problem.code == "hub_offline":
        message = say("The Hugging Face Hub cannot be reached.")
        return PushError(problem.code, message, say("Check the network, then push again."), "", True), 0.0
    return PushError(problem.code, problem.message, problem.hint, "", problem.passing), problem.wait


def _by_status(status: int | None, repo_id: str) -> PushError | None:
    """The answers that mean something else to a push than to a download."""
    if status == 401:
        return no_login()
    if status == 403:
        return PushError(
            "hub_no_write",
            say("The token may not write to {repo}.", repo=repo_id),
            say(WRITE_HINT),
            "token",
        )
    if status == 409:
        return PushError(
            "hub_conflict",
            say("Someone changed {repo} at the same moment.", repo=repo_id),
            say("Push again."),
            passing=True,
        )
    if status == 413:
        return PushError(
            "hub_too_large",
            say("The Hub does not take a file of this size."),
            say("Save it in smaller parts, or push the adapter alone."),
        )
    if status == 422:
        return PushError(
            "hub_mismatch",
            say("What arrived at the Hub is not what was sent."),
            say("Push again."),
            passing=True,
        )
    return None


def unknown_token() -> PushError:
    return PushError(
        "hub_bad_token",
        say("The Hub does not know the token that was given."),
        say("Copy it again, whole, or make a new one on the Hub."),
        "token",
    )


def no_login() -> PushError:
    return PushError(
        "hub_no_login",
        say("Nobody is logged in to the Hub here."),
        say("Log in with a token that may write: hf auth login, or give the token here."),
        "token",
    )
