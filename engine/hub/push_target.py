"""Looks at where a push would go, before anything is sent: for the field with the repository's name.

Waits for the network, for 15 seconds at most: call it in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.hub.account import check_account, check_token
from engine.hub.errors import token_source
from engine.hub.search import ask_hub
from engine.hub.upload import OWN_FILES
from engine.hub.upload_errors import explain_push
from engine.messages.message import Message, say


@dataclass(frozen=True)
class PushTarget:
    """A repository that the token may write to. `files`: those in it, but for what every new one has.

    `user`: whose token it is; `source`: where the token is from, "" for one that was given.
    """

    repo_id: str
    user: str
    source: str
    exists: bool
    private: bool
    files: int

    @property
    def message(self) -> Message:
        """What a push there would do, in a sentence."""
        if not self.exists:
            return say("{repo} is free: it will be made.", repo=self.repo_id)
        if not self.files:
            return say("{repo} is there and empty: the push goes into it.", repo=self.repo_id)
        return say("{repo} is there already and holds {count} files.", repo=self.repo_id, count=self.files)


def check_target(repo_id: str, token: str = "") -> PushTarget:
    """Whether one may push to `repo_id`, owner/name or a name alone, and what is there.

    `token`: empty for the Hub's own login. Raises `HubError`, whose `field` is repo_id or token where one of
    them is to blame.
    """

    def ask(hub: Any) -> PushTarget:
        try:
            api = hub.HfApi(token=check_token(token) or None)
            account = check_account(api.whoami(), repo_id)
            source = "" if token else token_source()
            try:
                info = api.repo_info(account.repo_id)
            except hub.errors.RepositoryNotFoundError:
                return PushTarget(account.repo_id, account.user, source, exists=False, private=True, files=0)
        except Exception as error:
            raise explain_push(error, repo_id, bool(token)) from error
        names = [file.rfilename for file in info.siblings or [] if file.rfilename not in OWN_FILES]
        return PushTarget(
            account.repo_id, account.user, source, exists=True, private=bool(info.private), files=len(names)
        )

    return ask_hub(repo_id, ask)
