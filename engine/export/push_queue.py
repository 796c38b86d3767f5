"""Runs the `Push` command in a thread of its own, so that chatting works during an upload."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.export.deliverables import Deliverable
from engine.hub.model_card import draft_card
from engine.hub.search import license_of
from engine.hub.upload_job import PushJob, UploadProgress, UploadResult
from engine.hub.upload_process import UploadProcess
from engine.messages.message import say
from engine.protocol import events as ev
from engine.protocol.commands import Done, Push, Refused
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runs.manifest import result_digest
from engine.runtime.control import Control, Job
from engine.runtime.explain import explain

EVENT_SECONDS = 1.0


class PushQueue:
    """At most one push at a time."""

    def __init__(self, folder: RunFolder, model_name: str, control: Control) -> None:
        self._model_name = model_name
        self._folder, self._control, self._record = folder, control, control.record
        self._lock = threading.Lock()
        self._runner: UploadProcess | None = None

    def start(self, job: Job, command: Push) -> None:
        """Start a push, whose thread answers the request; refuse it while another runs."""
        path = Path(command.path) if command.path else self._exported_path(command.kind)
        if path is None:
            message = say("Nothing of this kind is exported yet: export it first.")
            self._control.job_done(job)
            job.reply(Refused(id=command.id, code="push_missing", message=message, field="path"))
            return
        push = PushJob(
            kind=command.kind,
            folder=str(path),
            repo_id=command.repo_id.strip(),
            private=command.private,
            card=command.card,
            token=command.token,
            replace=command.replace,
        )
        runner = UploadProcess(push)
        with self._lock:
            if self._runner:
                message = say("Another push is running: wait for it, or cancel it.")
                self._control.job_done(job)
                job.reply(Refused(id=command.id, code="busy", message=message))
                return
            self._runner = runner
        self._control.on_cancel_push = self.cancel
        thread = threading.Thread(
            target=self._run, args=(job, command, push, runner), name="loris-push", daemon=True
        )
        thread.start()

    def push(
        self, one: Deliverable, private: bool, token: str, replace: bool, cancelled: Callable[[], bool]
    ) -> bool:
        """Push what the spec asks for, and return at its end: whether it is done. An event reports a failure."""
        push = PushJob(
            kind=one.kind,
            folder=str(one.path),
            repo_id=one.target,
            private=private,
            token=token,
            replace=replace,
        )
        runner = UploadProcess(push)
        with self._lock:
            if self._runner:
                message = say("Another push is running: wait for it, or cancel it.")
                self._record.emit(ev.PushFailed(kind=one.kind, repo_id=one.target, code="busy", message=message))
                return False
            self._runner = runner
        self._control.on_cancel_push = self.cancel
        replies: list[Done | Refused] = []
        sending = threading.Thread(
            target=lambda: replies.append(self._send(0, push, runner)), name="loris-push", daemon=True
        )
        sending.start()
        while sending.is_alive():
            sending.join(0.2)
            if cancelled():
                runner.cancel()
        return bool(replies) and isinstance(replies[0], Done)

    @property
    def running(self) -> bool:
        """Whether a push is running."""
        return self._runner is not None

    def cancel(self) -> bool:
        """Cancel the running push; False when there is none."""
        with self._lock:
            if self._runner:
                self._runner.cancel()
            return self._runner is not None

    def _exported_path(self, kind: ev.ExportKind) -> Path | None:
        """The run's last export of this kind, if it still exists; for the result, the run's own."""
        if kind in ev.RESULTS:
            return self._folder.model if kind == "model" else self._folder.adapter
        saved = (Path(e.path) for e in reversed(read_state(self._folder.events).exports) if e.kind == kind)
        return next((path for path in saved if path.is_dir()), None)

    def _run(self, job: Job, command: Push, push: PushJob, runner: UploadProcess) -> None:
        answer = self._send(command.id, push, runner)
        self._control.job_done(job)
        job.reply(answer)  # last: a client that has the reply may push again

    def _send(self, number: int, push: PushJob, runner: UploadProcess) -> Done | Refused:
        """Push, and return the reply to request `number` once another push may start."""
        started = time.monotonic()
        last: UploadProgress | None = None
        reported_at = 0.0

        def report(progress: UploadProgress) -> None:
            nonlocal last, reported_at
            self._control.reset_idle_time()  # an engine that uploads is not idle
            now = time.monotonic()
            if last and last.step == progress.step and not progress.waiting and now - reported_at < EVENT_SECONDS:
                return
            last, reported_at = progress, now
            self._record.emit(
                ev.Pushing(
                    kind=push.kind,
                    repo_id=progress.repo_id,
                    step=progress.step,
                    file=progress.file,
                    done_bytes=progress.done_bytes,
                    total_bytes=progress.total_bytes,
                    waiting=progress.waiting,
                )
            )

        try:
            if not push.card:
                card = draft_card(self._folder, push.kind, push.repo_id, license_of(self._model_name))
                runner.job = push = msgspec.structs.replace(push, card=card)
            return self._pushed(number, push, runner.run(report), time.monotonic() - started)
        except Exception as error:
            return self._failed(number, push.kind, last.repo_id if last else push.repo_id, error)
        finally:
            with self._lock:
                self._runner = None

    def _pushed(self, number: int, push: PushJob, result: UploadResult, seconds: float) -> Done:
        self._record.emit(
            ev.Pushed(
                kind=push.kind,
                path=push.folder,
                repo_id=result.repo_id,
                url=result.url,
                commit=result.commit,
                private=result.private,
                files=result.files,
                total_bytes=result.total_bytes,
                seconds=seconds,
                adapter_sha256=result_digest(self._folder.result),
            )
        )
        return Done(id=number, path=result.url, seconds=seconds)

    def _failed(self, number: int, kind: ev.ExportKind, repo_id: str, error: Exception) -> Refused:
        why = explain(error)
        self._record.emit(ev.PushFailed(kind=kind, repo_id=repo_id, **why.event_fields()))
        return Refused.of(number, why)
