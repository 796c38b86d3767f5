"""Checks the target of a push before anything is sent, for the repository field.

Waits for the network, for 15 seconds at most: call it in a thread.
"""

from dataclasses import dataclass
from typing import Any

from engine.hub.account import check_account, check_token
from engine.hub.errors import token_source
from engine.hub.search import call_hub
from engine.hub.upload import OWN_FILES
from engine.hub.upload_errors import explain_push_error
from engine.messages.message import Message, say


@dataclass(frozen=True)
class PushTarget:
    """A repository that the token can write to. `files`: how many it has, without those of every new one.

    `user`: the owner of the token; `source`: where the token is from, "" if it was given.
    """

    repo_id: str
    user: str
    source: str
    exists: bool
    private: bool
    files: int

    @property
    def message(self) -> Message:
        """What a push to it would do."""
        if not self.exists:
            return say("{repo} is free: it will be created.", repo=self.repo_id)
        if not self.files:
            return say("{repo} exists and is empty: the push goes into it.", repo=self.repo_id)
        return say("{repo} already exists and holds {count} files.", repo=self.repo_id, count=self.files)


def check_target(repo_id: str, token: str = "") -> PushTarget:
    """Check that a push to `repo_id` (owner/name, or only a name) is allowed.

    `token`: empty for the Hub's own login. Raises `HubError`; its `field` is repo_id or token if one of them is
    to blame.
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
            raise explain_push_error(error, repo_id, bool(token)) from error
        names = [file.rfilename for file in info.siblings or [] if file.rfilename not in OWN_FILES]
        return PushTarget(
            account.repo_id, account.user, source, exists=True, private=bool(info.private), files=len(names)
        )

    return call_hub(repo_id, ask)
