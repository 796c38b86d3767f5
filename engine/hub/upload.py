"""Sends a folder to the Hub with the Hub's own library: checks first, one commit, and a look at what arrived.

All files become one commit, so that an interrupted push leaves an empty repository and never half a model. What
was transferred before is not sent again: the Hub knows a large file by its hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, TypeVar

from engine.hub.account import check_account, check_token
from engine.hub.errors import HubError
from engine.hub.local_files import LocalFile, files_of
from engine.hub.upload_errors import explain_push
from engine.hub.upload_job import PushJob, Result, UploadProgress
from engine.messages.message import say
from engine.protocol.events import PushStep

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another try
MOST_ASKED_WAIT = 900.0  # the Hub may ask for hours, which nobody would watch
TELL_SECONDS = 0.5
OWNER = "{owner}"
OWN_FILES = (".gitattributes", "README.md")  # that a new repository may have
_T = TypeVar("_T")


class Upload:
    """One push. `tell` is called with its progress."""

    def __init__(self, job: PushJob, tell: Callable[[UploadProgress], None]) -> None:
        self._hub: Any = import_module("huggingface_hub")
        self._job, self._tell = job, tell
        self._api = self._hub.HfApi(token=check_token(job.token) or None)
        self._repo = job.repo_id
        self._files: list[LocalFile] = []
        self._step: PushStep = "checking"
        self._file, self._sent, self._told = "", 0, 0.0

    def run(self) -> Result:
        """Do all of it. Raises `HubError`."""
        self._enter("checking")
        kind, folder = self._job.kind, Path(self._job.folder)
        files_of(kind, folder, self._job.card)  # before anything is asked of the Hub
        account = check_account(self._again(self._api.whoami), self._job.repo_id)
        self._repo = account.repo_id
        self._files = files_of(kind, folder, self._job.card.replace(OWNER, account.user))
        self._make_room()
        self._enter("uploading")
        self._send()
        self._enter("verifying")
        return self._again(self._verify)

    @property
    def _total(self) -> int:
        return sum(file.size for file in self._files)

    def _enter(self, step: PushStep) -> None:
        self._step, self._told = step, 0.0
        self._report()

    def _report(self, waiting: float = 0.0) -> None:
        """Tell how far it is, no more often than is worth reading."""
        now = time.monotonic()
        if waiting or now - self._told >= TELL_SECONDS:
            self._told = now
            progress = UploadProgress(
                step=self._step,
                repo_id=self._repo,
                file=self._file,
                done_bytes=min(self._sent, self._total),
                total_bytes=self._total,
                waiting=waiting,
            )
            self._tell(progress)

    def _again(self, ask: Callable[[], _T]) -> _T:
        """What `ask` returns, asked again after failures that pass. Raises `HubError`."""
        number = 1
        while True:
            try:
                return ask()
            except Exception as error:
                failure = explain_push(error, self._repo, bool(self._job.token))
                wait = max(failure.wait, min(FIRST_WAIT * 2 ** (number - 1), LONGEST_WAIT))
                if not failure.passing or number >= self._job.tries or wait > MOST_ASKED_WAIT:
                    raise failure from error
            number += 1
            self._report(waiting=wait)
            time.sleep(wait)

    def _make_room(self) -> None:
        """Make the repository, or see that the one there may be used. Raises `HubError`."""
        missing = self._hub.errors.RepositoryNotFoundError
        with suppress(missing):
            there = self._again_but(missing, lambda: self._api.repo_info(self._repo))
            if self._job.private and not there.private:
                raise HubError(
                    "repo_public",
                    say("{repo} is there already, and everyone can read it.", repo=self._repo),
                    say("Give another name, or choose public."),
                    "private",
                )
            if not self._job.replace and self._foreign():
                raise HubError(
                    "repo_exists",
                    say("{repo} is there already and holds other files.", repo=self._repo),
                    say("Give another name, or allow files of the same name to be replaced."),
                    "repo_id",
                )
            return
        self._again(lambda: self._api.create_repo(self._repo, private=self._job.private, exist_ok=True))

    def _again_but(self, passed_on: type[Exception], ask: Callable[[], _T]) -> _T:
        """As `_again`, letting one kind of exception through."""
        caught: list[Exception] = []

        def try_it() -> _T | None:
            try:
                return ask()
            except passed_on as error:
                caught.append(error)
                return None

        answer = self._again(try_it)
        if caught or answer is None:
            raise caught[-1]
        return answer

    def _foreign(self) -> bool:
        """Whether the repository has files other than these, as an interrupted push may have left them."""
        ours = {file.name: file for file in self._files}
        for name, there in self._remote().items():
            mine = ours.get(name)
            if name not in OWN_FILES and not (mine and there.size == mine.size and _same(mine, there)):
                return True
        return False

    def _remote(self) -> dict[str, Any]:
        """The files of the repository by name, as the Hub lists them."""

        def ask() -> dict[str, Any]:
            found = self._api.list_repo_tree(self._repo, recursive=True, revision="main")
            return {one.path: one for one in found if hasattr(one, "blob_id")}

        return self._again(ask)

    def _send(self) -> None:
        """Transfer the large files one by one, then make the commit with the small ones."""
        operations = []
        for file in self._files:
            operation = self._operation(file)
            operations.append(operation)
            self._file, before = file.name, self._sent
            self._report()

            def transfer(operation: Any = operation) -> None:
                self._api.preupload_lfs_files(self._repo, [operation], free_memory=False, num_threads=1)

            with self._xet_progress():
                self._again(transfer)
            self._sent = before + file.size
        self._file = ""
        message = f"Add {self._job.kind} with Loris"
        self._again(lambda: self._api.create_commit(self._repo, operations, commit_message=message, num_threads=1))

    def _operation(self, file: LocalFile) -> Any:
        """The library's own description of a file to add, which counts what is read while it is sent."""
        before, tell = self._sent, self._sent_until

        class Counted(self._hub.CommitOperationAdd):  # type: ignore[misc, name-defined]
            @contextmanager
            def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
                if with_tqdm and isinstance(file.content, Path):
                    with _Counting(FileIO(file.content)) as opened:
                        opened.tell_position = lambda position: tell(before + position)
                        yield opened
                else:
                    with super().as_file() as plain:
                        yield plain

        content = file.content if isinstance(file.content, bytes) else str(file.content)
        return Counted(path_in_repo=file.name, path_or_fileobj=content)

    def _sent_until(self, position: int) -> None:
        self._sent = position
        self._report()

    @contextmanager
    def _xet_progress(self) -> Iterator[None]:
        """Have the library's display of its own storage protocol, Xet, report here instead of on a terminal."""
        before, tell = self._sent, self._sent_until

        class Reporter:
            def __init__(self, *_: Any, **__: Any) -> None:
                pass

            def update_progress(self, report: Any, *_: Any) -> None:
                tell(before + int(getattr(report, "total_bytes_completed", 0)))

            def close(self, *_: Any, **__: Any) -> None:
                pass

        try:
            module: Any = import_module("huggingface_hub.utils._xet_progress_reporting")
            original = module.XetUploadProgressReporter
        except (ImportError, AttributeError):  # another version: progress by whole files alone
            yield
            return
        module.XetUploadProgressReporter = Reporter
        try:
            yield
        finally:
            module.XetUploadProgressReporter = original

    def _verify(self) -> Result:
        """Compare what the Hub lists with what is here. Raises `HubError`."""
        there = self._remote()
        for file in self._files:
            self._file = file.name
            self._report()
            remote = there.get(file.name)
            if remote is None:
                raise HubError(
                    "hub_incomplete",
                    say("{file} did not arrive: {repo} is not complete.", file=file.name, repo=self._repo),
                    say("Push again: what arrived is not sent twice."),
                )
            if remote.size != file.size or not _same(file, remote):
                raise HubError(
                    "hub_mismatch",
                    say("{file} on the Hub is not the file that was sent.", file=file.name),
                    say("Do not use {repo} yet. Push again.", repo=self._repo),
                )
        info = self._api.repo_info(self._repo)
        return Result(
            repo_id=self._repo,
            url=f"{self._api.endpoint}/{self._repo}",
            commit=info.sha or "",
            private=bool(info.private),
            files=len(self._files),
            total_bytes=self._total,
        )


def _same(file: LocalFile, remote: Any) -> bool:
    """Whether a file on the Hub has this content, by its hash there."""
    return file.matches(remote.lfs.sha256 if remote.lfs else None, remote.blob_id)


class _Counting(BufferedReader):
    """A file that tells how far it was read. The library rewinds it to try again, which only a real file is."""

    tell_position: Callable[[int], None]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.tell_position(self.tell())
        return data
