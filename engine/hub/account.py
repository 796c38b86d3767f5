"""Checks the token, its account and its write access before anything is sent."""

from dataclasses import dataclass
from typing import Any

from engine.config.local_paths import is_hub_id
from engine.hub.errors import HubError
from engine.hub.upload_errors import WRITE_HINT, unknown_token
from engine.messages.message import say

WRITE = "repo.write"


@dataclass(frozen=True)
class Account:
    """The full name of the repository, and the user who writes to it."""

    repo_id: str
    user: str


def check_token(token: str) -> str:
    """The token without surrounding whitespace. Raises `HubError` if it is malformed.

    The HTTP client would show a malformed token in its error.
    """
    token = token.strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise unknown_token()
    return token


def check_account(whoami: dict[str, Any], repo_id: str) -> Account:
    """The repository's full name and the user. `whoami`: the Hub's response for the token. Raises `HubError`."""
    user = str(whoami.get("name", ""))
    name = repo_id.strip() if "/" in repo_id else f"{user}/{repo_id.strip()}"
    if not is_hub_id(name) or name.count("/") != 1:
        raise HubError(
            "push_bad_name",
            say("{name} is not a valid repository name.", name=repo_id),
            say("Letters, digits, - _ and . are allowed, as in owner/my-model."),
            "repo_id",
        )
    owner = name.partition("/")[0]
    owners = [user, *(str(org.get("name")) for org in whoami.get("orgs") or [])]
    if owner not in owners:
        raise HubError(
            "hub_not_owner",
            say("The account {user} does not belong to {owner}.", user=user, owner=owner),
            say("It has write access to: {owners}.", owners=", ".join(owners)),
            "repo_id",
        )
    token = (whoami.get("auth") or {}).get("accessToken") or {}
    if not _may_write(token, owner, name):
        raise HubError(
            "hub_no_write",
            say("The token of {user} has no write access to {repo}.", user=user, repo=name),
            say(WRITE_HINT),
            "token",
        )
    return Account(name, user)


def _may_write(token: dict[str, Any], owner: str, name: str) -> bool:
    """Whether a token can write, as far as the Hub reports it; True if unknown."""
    role = token.get("role")
    if role == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or []
        return any(
            WRITE in (scope.get("permissions") or [])
            and (scope.get("entity") or {}).get("name") in (owner, name)
            for scope in scopes
        )  # fmt: skip
    return role != "read"
