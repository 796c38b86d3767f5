"""Uploads a folder to the Hub with `huggingface_hub`: checks, uploads in one commit, verifies.

All files are one commit, so an interrupted push leaves an empty repository and never an incomplete model. Files
that were already transferred are not sent again: the Hub identifies a large file by its hash.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, TypeVar

from engine.hub.account import check_account, check_token
from engine.hub.errors import HubError
from engine.hub.local_files import LocalFile, list_files
from engine.hub.upload_errors import explain_push_error
from engine.hub.upload_job import PushJob, UploadProgress, UploadResult
from engine.messages.message import say
from engine.protocol.events import PushStep

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another try
MAX_RETRY_AFTER = 900.0  # seconds; the Hub may ask for hours: then the push fails
REPORT_SECONDS = 0.5  # between two progress messages
OWNER = "{owner}"
OWN_FILES = (".gitattributes", "README.md")  # files that a new repository may already have
_T = TypeVar("_T")


class Upload:
    """One push. `on_progress` is called with its progress."""

    def __init__(self, job: PushJob, on_progress: Callable[[UploadProgress], None]) -> None:
        self._hub: Any = import_module("huggingface_hub")
        self._job, self._on_progress = job, on_progress
        self._api = self._hub.HfApi(token=check_token(job.token) or None)
        self._repo = job.repo_id
        self._files: list[LocalFile] = []
        self._step: PushStep = "checking"
        self._file, self._sent, self._reported_at = "", 0, 0.0

    def run(self) -> UploadResult:
        """Check, upload and verify. Raises `HubError`."""
        self._enter("checking")
        kind, folder = self._job.kind, Path(self._job.folder)
        list_files(kind, folder, self._job.card)  # before the first request to the Hub
        account = check_account(self._retry(self._api.whoami), self._job.repo_id)
        self._repo = account.repo_id
        self._files = list_files(kind, folder, self._job.card.replace(OWNER, account.user))
        self._prepare_repo()
        self._enter("uploading")
        self._send()
        self._enter("verifying")
        return self._retry(self._verify)

    @property
    def _total(self) -> int:
        return sum(file.size for file in self._files)

    def _enter(self, step: PushStep) -> None:
        self._step, self._reported_at = step, 0.0
        self._report()

    def _report(self, waiting: float = 0.0) -> None:
        """Report the progress, at most once in `REPORT_SECONDS`."""
        now = time.monotonic()
        if waiting or now - self._reported_at >= REPORT_SECONDS:
            self._reported_at = now
            progress = UploadProgress(
                step=self._step,
                repo_id=self._repo,
                file=self._file,
                done_bytes=min(self._sent, self._total),
                total_bytes=self._total,
                waiting=waiting,
            )
            self._on_progress(progress)

    def _retry(self, ask: Callable[[], _T]) -> _T:
        """The result of `ask`, retried after retryable errors. Raises `HubError`."""
        number = 1
        while True:
            try:
                return ask()
            except Exception as error:
                failure = explain_push_error(error, self._repo, bool(self._job.token))
                wait = max(failure.wait, min(FIRST_WAIT * 2 ** (number - 1), LONGEST_WAIT))
                if not failure.retryable or number >= self._job.tries or wait > MAX_RETRY_AFTER:
                    raise failure from error
            number += 1
            self._report(waiting=wait)
            time.sleep(wait)

    def _prepare_repo(self) -> None:
        """Create the repository, or check that the existing one can be used. Raises `HubError`."""
        missing = self._hub.errors.RepositoryNotFoundError
        with suppress(missing):
            there = self._retry_except(missing, lambda: self._api.repo_info(self._repo))
            if self._job.private and not there.private:
                raise HubError(
                    "repo_public",
                    say("{repo} already exists, and everyone can read it.", repo=self._repo),
                    say("Give another name, or choose public."),
                    "private",
                )
            if not self._job.replace and self._has_other_files():
                raise HubError(
                    "repo_exists",
                    say("{repo} already exists and holds other files.", repo=self._repo),
                    say("Give another name, or allow files of the same name to be replaced."),
                    "repo_id",
                )
            return
        self._retry(lambda: self._api.create_repo(self._repo, private=self._job.private, exist_ok=True))

    def _retry_except(self, exception: type[Exception], ask: Callable[[], _T]) -> _T:
        """Like `_retry`, but raises `exception` at once."""
        caught: list[Exception] = []

        def try_it() -> _T | None:
            try:
                return ask()
            except exception as error:
                caught.append(error)
                return None

        answer = self._retry(try_it)
        if caught or answer is None:
            raise caught[-1]
        return answer

    def _has_other_files(self) -> bool:
        """Whether the repository has files that are not from an interrupted push of this folder."""
        ours = {file.name: file for file in self._files}
        for name, there in self._remote_files().items():
            mine = ours.get(name)
            if name not in OWN_FILES and not (mine and there.size == mine.size and _same(mine, there)):
                return True
        return False

    def _remote_files(self) -> dict[str, Any]:
        """The files of the repository by path."""

        def ask() -> dict[str, Any]:
            found = self._api.list_repo_tree(self._repo, recursive=True, revision="main")
            return {one.path: one for one in found if hasattr(one, "blob_id")}

        return self._retry(ask)

    def _send(self) -> None:
        """Transfer the large files one by one, then commit them with the small ones."""
        operations = []
        for file in self._files:
            operation = self._operation(file)
            operations.append(operation)
            self._file, before = file.name, self._sent
            self._report()

            def transfer(operation: Any = operation) -> None:
                self._api.preupload_lfs_files(self._repo, [operation], free_memory=False, num_threads=1)

            with self._xet_progress():
                self._retry(transfer)
            self._sent = before + file.size
        self._file = ""
        message = f"Add {self._job.kind} with Loris"
        self._retry(lambda: self._api.create_commit(self._repo, operations, commit_message=message, num_threads=1))

    def _operation(self, file: LocalFile) -> Any:
        """The commit operation for a file, which reports progress while the file is read."""
        before, update = self._sent, self._update_sent

        class Counted(self._hub.CommitOperationAdd):  # type: ignore[misc, name-defined]
            @contextmanager
            def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
                if with_tqdm and isinstance(file.content, Path):
                    with _PositionReader(FileIO(file.content)) as opened:
                        opened.on_position = lambda position: update(before + position)
                        yield opened
                else:
                    with super().as_file() as plain:
                        yield plain

        content = file.content if isinstance(file.content, bytes) else str(file.content)
        return Counted(path_in_repo=file.name, path_or_fileobj=content)

    def _update_sent(self, position: int) -> None:
        self._sent = position
        self._report()

    @contextmanager
    def _xet_progress(self) -> Iterator[None]:
        """Replace the library's progress display for Xet storage by one that reports here."""
        before, update = self._sent, self._update_sent

        class Reporter:
            def __init__(self, *_: Any, **__: Any) -> None:
                pass

            def update_progress(self, report: Any, *_: Any) -> None:
                update(before + int(getattr(report, "total_bytes_completed", 0)))

            def close(self, *_: Any, **__: Any) -> None:
                pass

        try:
            module: Any = import_module("huggingface_hub.utils._xet_progress_reporting")
            original = module.XetUploadProgressReporter
        except (ImportError, AttributeError):  # another version: progress only per file
            yield
            return
        module.XetUploadProgressReporter = Reporter
        try:
            yield
        finally:
            module.XetUploadProgressReporter = original

    def _verify(self) -> UploadResult:
        """Compare the files on the Hub with the local ones. Raises `HubError`."""
        there = self._remote_files()
        for file in self._files:
            self._file = file.name
            self._report()
            remote = there.get(file.name)
            if remote is None:
                raise HubError(
                    "hub_incomplete",
                    say("{file} is missing on the Hub: {repo} is not complete.", file=file.name, repo=self._repo),
                    say("Push again: files that arrived are not sent twice."),
                )
            if remote.size != file.size or not _same(file, remote):
                raise HubError(
                    "hub_mismatch",
                    say("{file} on the Hub is not the file that was sent.", file=file.name),
                    say("Do not use {repo} yet. Push again.", repo=self._repo),
                )
        info = self._api.repo_info(self._repo)
        return UploadResult(
            repo_id=self._repo,
            url=f"{self._api.endpoint}/{self._repo}",
            commit=info.sha or "",
            private=bool(info.private),
            files=len(self._files),
            total_bytes=self._total,
        )


def _same(file: LocalFile, remote: Any) -> bool:
    """Whether a file on the Hub has the same hash as the local one."""
    return file.matches(remote.lfs.sha256 if remote.lfs else None, remote.blob_id)


class _PositionReader(BufferedReader):
    """A file that reports its read position. A subclass of a real file: the library rewinds it for a retry."""

    on_position: Callable[[int], None]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.on_position(self.tell())
        return data
