"""`loris export`: exports a trained run without the wizard, and pushes it to the Hub."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.client.connection import Connection, Request
from engine.client.engine_client import EngineClient
from engine.client.serving import require_result, serving
from engine.config.quantizations import export_folder_name, quantization_error, repo_name, resolve_quantizations
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.export.plan import already_exported, plan, target_of
from engine.hub.errors import HubError
from engine.hub.model_card import draft_card
from engine.hub.push_target import check_target
from engine.hub.search import license_of
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, FAILED, INTERRUPTED, exit_code_of
from engine.messages.message import Message
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.events import ExportKind
from engine.protocol.state import RunState, read_state
from engine.runs.checksums import damaged_files
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tui.cli.llama_cpp import find_or_fetch
from tui.cli.printer import STAGE_LINES
from tui.cli.run_choice import find_run
from tui.text.amounts import size
from tui.text.errors import fail, print_error, with_hint
from tui.text.export import describe_export_step
from tui.text.json_output import to_json
from tui.text.sanitize import visible
from tui.text.translation import _, language, render

LINE_SECONDS = 2.0  # between lines of one step
OPTIONS = {
    "path": "--to",
    "quantizations": "--gguf",
    "llama_cpp": "--llama-cpp",
    "kind": "--merged-4bit",
    "adapter": "--adapter",
    "repo_id": "--push",
    "token": "HF_TOKEN",
    "private": "--private",
}


def requested_exports(options: argparse.Namespace) -> list[co.Export]:
    """The exports that the options ask for; GGUF last, so that it reuses the merged model."""
    common = {"replace": options.overwrite, "llama_cpp": options.llama_cpp}
    kinds: list[tuple[ExportKind, bool]] = [
        ("adapter", options.adapter),
        ("merged_16bit", options.merged_16bit),
        ("merged_4bit", options.merged_4bit),
    ]
    found = [co.Export(id=0, kind=kind, path=options.to, **common) for kind, chosen in kinds if chosen]
    if options.gguf:
        names = tuple(name.strip() for name in options.gguf.split(",") if name.strip())
        found.append(
            co.Export(id=0, kind="gguf", path=options.to, quantizations=names, ollama=options.ollama, **common)
        )
    return found


def run_export(options: argparse.Namespace) -> int:
    """Export; returns an exit code."""
    try:
        folder = find_run(options.run).folder
        load_spec(folder.spec)
    except UserError as error:
        return fail(error)
    exports = requested_exports(options)
    if options.gguf and not quantization_error(exports[-1].quantizations):
        if (code := find_or_fetch(options)) != COMPLETED:
            return code
        exports = requested_exports(options)
    if not exports:
        print_error(_("Say what to export: --adapter, --merged-16bit, --merged-4bit or --gguf q4_k_m."))
        return BAD_INPUT
    if not is_alive(folder):
        try:
            require_result(folder)
        except UserError as error:
            return fail(error)
    state = read_state(folder.events)
    exports = [_own_folder(command, folder, len(exports)) for command in exports]
    problem = _find_problem(exports, folder, state)
    if options.push and not problem:
        problem = _hub_problem(repo_name(options.push, exports[0].kind, first=True))
    if problem:
        print_error(visible(": ".join(filter(None, problem))))
        return BAD_INPUT
    return asyncio.run(ExportCommand(folder, options, exports).run())


def _own_folder(command: co.Export, folder: RunFolder, count: int) -> co.Export:
    """Several kinds each get a folder below the given one, whether or not that exists."""
    import msgspec

    if not command.path:
        return command
    target = target_of(command.kind, command.path, folder, command.quantizations)
    if count > 1:
        names = () if quantization_error(command.quantizations) else resolve_quantizations(command.quantizations)
        target = Path(command.path).expanduser().absolute() / folder.name / export_folder_name(command.kind, names)
    return msgspec.structs.replace(command, path=str(target))


def _find_problem(exports: list[co.Export], folder: RunFolder, state: RunState) -> tuple[str, str] | None:
    """(the option at fault, why it cannot be done); None when all can."""
    for command in exports:
        if is_exported(command, folder, state):
            target = target_of(command.kind, command.path, folder, command.quantizations)
            print_error(visible(_("Checking what is at {path} already").format(path=target)))
            if names := damaged_files(target):
                words = _("The export at {path} is damaged ({file}): this makes it again.")
                return "--overwrite", words.format(path=target, file=", ".join(names[:3]))
            continue
        found = plan(
            command.kind, command.path, folder, state, command.quantizations, command.llama_cpp, command.replace
        )
        if found.error:
            return OPTIONS.get(found.field, ""), render(found.error)
    return None


def _hub_problem(repo_id: str) -> tuple[str, str] | None:
    """(the option at fault, why nothing can be pushed there), checked before minutes go into exporting."""
    try:
        check_target(repo_id, os.environ.get("HF_TOKEN", ""))
    except HubError as error:
        words = with_hint(error.message, error.hint)
        if not error.retryable:
            return OPTIONS.get(error.field, ""), words
        print_error(visible(words))  # the Hub may be reachable again after the export
    return None


def is_exported(command: co.Export, folder: RunFolder, state: RunState) -> bool:
    """Whether an earlier call made this export already: then it is not made again."""
    target = target_of(command.kind, command.path, folder, command.quantizations)
    return not command.replace and already_exported(command.kind, target, command.quantizations, folder, state)


class ExportCommand:
    """Runs the exports, and their pushes, one after the other on one engine."""

    def __init__(self, folder: RunFolder, options: argparse.Namespace, exports: list[co.Export]) -> None:
        self._folder, self._options, self._exports = folder, options, exports
        self._request: Request | None = None
        self._interrupts = 0
        self._last_line = (0.0, "")

    async def run(self) -> int:
        """Run all exports; returns the exit code."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGINT, self._interrupt, task)
        try:
            async with serving(self._folder, self._print_stage, exports=True, stay=self._options.stay) as (
                control,
                client,
            ):
                return await self._carry_out(control, client)
        except asyncio.CancelledError:
            print_error(_("Cancelled."))
            return INTERRUPTED
        except UserError as error:
            print_error(visible(render(error.message)))
            return FAILED
        except OSError as error:
            print_error(_("The engine could not be started: {reason}").format(reason=visible(str(error))))
            return FAILED
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def _carry_out(self, control: Connection, client: EngineClient) -> int:
        for number, command in enumerate(self._exports):
            if is_exported(command, self._folder, client.state):
                self._report_existing(command, client.state)
                code = COMPLETED
            else:
                code = await self._export(control, command, client)
            if code == COMPLETED and self._options.push:
                code = await self._push(control, command, number, client)
            if code != COMPLETED:
                return code
        return COMPLETED

    def _interrupt(self, task: asyncio.Task[int]) -> None:
        """The first Ctrl-C cancels the current export and waits for its clean-up."""
        self._interrupts += 1
        if self._request is not None and self._interrupts == 1:
            self._print(_("Cancelling; press Ctrl-C again to leave without waiting for the engine to clean up."))
            self._request.cancel()
        else:
            task.cancel()

    async def _export(self, control: Connection, command: co.Export, client: EngineClient) -> int:
        self._request = control.request(command)
        async for reply in self._request:
            match reply:
                case co.ExportProgress():
                    self._print_progress(reply)
                case co.Refused():
                    return self._refused(reply)
                case co.Done():
                    self._request = None
                    await client.catch_up()
                    self._report_exported(reply, client.state)
        self._request = None
        return COMPLETED

    def _report_existing(self, command: co.Export, state: RunState) -> None:
        target = target_of(command.kind, command.path, self._folder, command.quantizations)
        exported = next(e for e in reversed(state.exports) if Path(e.path) == target)
        if self._options.json:
            self._print_json(exported)
        self._result(_("Exported before to {path}").format(path=target))

    def _print_progress(self, progress: co.ExportProgress) -> None:
        if self._options.json:
            self._print_json(progress)
            return
        words = describe_export_step(progress)
        words = words[0].upper() + words[1:]
        now = time.monotonic()
        if words == self._last_line[1] and now - self._last_line[0] < LINE_SECONDS:
            return
        self._last_line = (now, words)
        share = f" {progress.done / progress.total:.0%}" if progress.total else ""
        of = f" ({size(progress.total)})" if progress.unit == "bytes" and progress.total else ""
        self._print(words + share + of)

    def _report_exported(self, done: co.Done, state: RunState) -> None:
        exported = next((e for e in reversed(state.exports) if e.path == done.path), None)
        if self._options.json:
            if exported:
                self._print_json(exported)
            self._print_json(done)
            return
        bytes_ = f" ({size(exported.total_bytes)})" if exported else ""
        print(visible(_("Exported {path}").format(path=done.path)) + bytes_, flush=True)  # noqa: T201
        for message in (exported.verified if exported else None, done.note):
            if message:
                print("  " + visible(render(message)), flush=True)  # noqa: T201

    def _refused(self, reply: co.Refused, hint: Message | None = None) -> int:
        if self._options.json:
            self._print_json(reply)
        problem = OPTIONS.get(reply.field, ""), with_hint(reply.message, hint)
        print_error(visible(": ".join(filter(None, problem))))
        if reply.code == "cancelled":
            return INTERRUPTED
        return exit_code_of(reply.field)

    async def _push(self, control: Connection, command: co.Export, number: int, client: EngineClient) -> int:
        name = repo_name(self._options.push, command.kind, first=number == 0)
        path = str(target_of(command.kind, command.path, self._folder, command.quantizations))
        # The engine may have been started without a token: the command carries this process's own.
        token = os.environ.get("HF_TOKEN", "")
        push = co.Push(
            id=0,
            kind=command.kind,
            repo_id=name,
            path=path,
            private=not self._options.public,
            card=await asyncio.to_thread(self._model_card, command.kind, name),
            token=token,
        )
        request = control.request(push)
        reading = asyncio.create_task(final_reply(request))
        self._interrupts = 0
        self._request = _PushRequest(control)
        try:
            while not reading.done():
                self._show_pushing(client)
                await asyncio.wait({reading}, timeout=0.3)
        finally:
            self._request = None
        self._show_pushing(client)
        reply = reading.result()
        if isinstance(reply, co.Refused):
            self._refused(reply, client.state.push_failed.hint if client.state.push_failed else None)
            return INTERRUPTED if reply.code == "cancelled" else FAILED  # the export itself is complete
        if self._options.json:
            self._print_json(reply)
        self._result(_("Pushed to {url}").format(url=reply.path))
        return COMPLETED

    def _model_card(self, kind: ExportKind, repo_id: str) -> str:
        """The model card in the current language; empty for English, which the engine writes."""
        if language() == "en":
            return ""
        try:
            license = license_of(load_spec(self._folder.spec).model.model_name)
        except (SpecError, OSError):
            license = ""  # the card then states that it is not known
        return draft_card(self._folder, kind, repo_id, license, _)

    def _show_pushing(self, client: EngineClient) -> None:
        for event in client.read_events():
            if isinstance(event, ev.Pushing) and self._options.json:
                self._print_json(event)
            elif isinstance(event, ev.Pushing) and event.total_bytes:
                share = event.done_bytes / event.total_bytes
                self._print(visible(_("Pushing to {repo}").format(repo=event.repo_id)) + f" {share:.0%}")

    def _print_stage(self, stage: ev.Stage, _doing: str) -> None:
        self._print(_(STAGE_LINES[stage]) if stage in STAGE_LINES else "")

    def _print(self, text: str) -> None:
        """Print progress: on standard error, because it is not the result."""
        if text and not self._options.json:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _result(self, text: str) -> None:
        """Print a result for people."""
        if not self._options.json:
            print(visible(text), flush=True)  # noqa: T201

    def _print_json(self, value: ev.AnyEvent | co.AnyReply) -> None:
        sys.stdout.buffer.write(to_json(value).encode() + b"\n")
        sys.stdout.buffer.flush()


class _PushRequest(Request):
    """A push is cancelled by a separate command, because it outlives its client."""

    def __init__(self, control: Connection) -> None:
        super().__init__(control, 0)

    def cancel(self) -> None:
        self._control.request(co.CancelPush(id=0))


async def final_reply(
    request: Request, on_progress: Callable[[co.ExportProgress], None] = lambda _progress: None
) -> co.Done | co.Refused:
    """Read the replies to the last one."""
    async for reply in request:
        if isinstance(reply, co.ExportProgress):
            on_progress(reply)
        if isinstance(reply, co.Done | co.Refused):
            return reply
    raise AssertionError("a request ends with Done or Refused")
