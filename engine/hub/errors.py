"""Explains errors of the Hugging Face Hub. Recognises exceptions by type name: imports no Hub library."""

import os
from pathlib import Path

from engine.messages.errors import UserError, causes
from engine.messages.message import Message, say

OFFLINE = {"ConnectError", "ConnectionError", "ConnectTimeout", "OfflineModeIsEnabled", "MaxRetryError",
           "NameResolutionError", "gaierror", "ReadTimeout", "WriteTimeout", "PoolTimeout"}  # fmt: skip
DISCONNECTED = {"RemoteProtocolError", "ReadError", "WriteError", "ConnectionResetError", "BrokenPipeError",
          "ChunkedEncodingError", "IncompleteRead"}  # fmt: skip


class HubError(UserError):
    """A Hub request failed: hub_offline, hub_not_found, hub_no_access, hub_bad_token, ...

    `retryable`: a retry may succeed. `wait`: seconds to wait first, as the Hub asks for.
    """

    def __init__(
        self,
        code: str,
        message: Message,
        hint: Message | None = None,
        field: str = "",
        *,
        retryable: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(code, message, hint, field)
        self.retryable, self.wait = retryable, wait


def token_source() -> str:
    """Where the Hub token on this machine is: "HF_TOKEN", the path of the login's file, or "" if there is none.

    Checks the same locations in the same order as huggingface_hub, without importing it.
    """
    if next((v for n in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if (v := os.environ.get(n, "").strip())), ""):
        return "HF_TOKEN"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    home = Path(os.environ.get("HF_HOME") or cache).expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return str(path) if path.read_text("utf-8").strip() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _status_and_headers(error: BaseException) -> tuple[int | None, dict[str, str]]:
    """(status, headers in lower case) of the HTTP response attached to an exception."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    headers = {str(n).lower(): str(v) for n, v in dict(getattr(response, "headers", None) or {}).items()}
    return (status if isinstance(status, int) else None), headers


def explain_hub_error(error: BaseException, name: str = "", source: str | None = None) -> HubError | None:
    """The `HubError` for an exception, or None if it has another cause. `source`: of the token."""
    chain = list(causes(error))
    types = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    text = " ".join(str(cause) for cause in chain)
    answers = [_status_and_headers(cause) for cause in chain]
    status = next((status for status, _ in answers if status), None)
    headers = next((headers for status, headers in answers if status), {})
    token = token_source() if source is None else source
    if "Invalid credentials" in text or "Invalid user token" in text:
        return HubError(
            "hub_bad_token",
            say("The token from {source} is not valid.", source=token or "HF_TOKEN"),
            say("It was deleted or has expired. Create a new one on the Hub, then: hf auth login --force"),
        )  # fmt: skip
    gated = ("access gated repo", "access a gated repo", "is a gated dataset")
    if "GatedRepoError" in types or any(words in text for words in gated):
        return HubError("hub_no_access", *_gated_messages(name, token))
    if "RevisionNotFoundError" in types:
        return HubError(
            "hub_no_revision",
            say("The repository has no such revision."),
            say("Leave the revision empty for the newest."),
        )
    missing = types & {"RepositoryNotFoundError", "DatasetNotFoundError", "HFValidationError"}
    if missing or "is not a valid model identifier" in text:
        return HubError("hub_not_found", *_not_found_messages(name, token))
    if found := _by_status(status, headers, name, token):
        return found
    if types & DISCONNECTED:
        return HubError(
            "hub_broke_off",
            say("The connection to the Hub was lost."),
            say("Try again: what was downloaded is kept."),
            retryable=True,
        )
    if types & OFFLINE or any(w in text for w in ("Couldn't reach", "couldn't connect", "We couldn't connect")):
        return HubError(
            "hub_offline",
            say("The Hugging Face Hub cannot be reached, and this is not in the local cache."),
            say("Check the network, or name a folder or file on this machine."),
            retryable=True,
        )
    return None


def _by_status(status: int | None, headers: dict[str, str], name: str, token: str) -> HubError | None:
    if status == 401:
        return HubError("hub_no_access", *_not_found_messages(name, token))
    if status == 403:
        return HubError(
            "hub_no_access",
            NO_ACCESS,
            say("Accept its licence on its page, and log in with a token that has read access: hf auth login."),
        )
    if status == 404:
        return HubError("hub_not_found", *_not_found_messages(name, token))
    if status == 429:
        asked = headers.get("retry-after", "").strip()
        wait = float(asked) if asked.isdigit() else 0.0
        return HubError(
            "hub_busy",
            say("The Hub accepts no more requests from here for now (error 429)."),
            say("Wait a few minutes and try again. With a login the limit is higher: hf auth login."),
            retryable=True,
            wait=wait,
        )
    if status in (408, 500, 502, 503, 504):
        return HubError(
            "hub_down",
            say("The Hub has a server error ({status}).", status=status),
            say("Try again in a few minutes."),
            retryable=True,
        )
    return None


NO_ACCESS = say("The Hub denies access to this repository.")
NOT_THERE = say("There is no such repository on the Hub, or it is private.")


def _gated_messages(name: str, token: str) -> tuple[Message, Message]:
    if token:
        return (
            say("{name} is gated, and the account of the token from {source} has no access.",
                name=name, source=token) if name else NO_ACCESS,
            say("Accept its terms on its page on the Hub with that account, then try again."),
        )  # fmt: skip
    return (
        say("{name} is gated, and nobody is logged in to the Hub here.", name=name) if name else NO_ACCESS,
        say("Accept its terms on its page on the Hub, then log in: hf auth login, or set HF_TOKEN."),
    )


def _not_found_messages(name: str, token: str) -> tuple[Message, Message]:
    """The Hub gives the same response for a missing repository and for a private one."""
    if token:
        return (
            say("The Hub has no {name}, or the token from {source} may not read it.", name=name, source=token)
            if name
            else NOT_THERE,
            say("Check the spelling: owner/name. For a private one, use a token of its owner: hf auth login."),
        )
    return (
        say("The Hub has no {name}, or it is private, and nobody is logged in here.", name=name)
        if name
        else NOT_THERE,
        say("Check the spelling: owner/name. For a private one, log in first: hf auth login."),
    )
