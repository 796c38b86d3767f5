"""Runs a spec without the wizard: starts an engine, prints its progress, and returns an exit code."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

import msgspec

from engine.client.connection import CommandRefused, Connection, EngineGone
from engine.client.follow import Follower, LogFollower
from engine.client.launch import launch, new_run
from engine.config.fields import FieldError
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import add_line_numbers, load_spec
from engine.messages.exit_codes import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    STOPPED,
    TERMINATED,
    UNDELIVERED,
    exit_code_of,
)
from engine.preflight.check import check_inputs
from engine.protocol.commands import Command, Shutdown, Stop
from engine.protocol.state import RunState
from engine.runs.consent import give_consent
from engine.runs.folder import RunFolder
from tui.cli.allow_rewards import confirm_rewards
from tui.cli.printer import JsonPrinter, LinePrinter, LivePrinter, Printer
from tui.text.errors import error_lines, fail, print_error
from tui.text.run import describe_changes
from tui.text.run_states import missing_lines
from tui.text.sanitize import visible
from tui.text.translation import _, render

POLL_SECONDS = 0.2
ANSWER_SECONDS = 2.0  # for the engine's socket, which answers at once; Ctrl-C is not handled meanwhile
LEAVE_SECONDS = 20.0  # how long an engine may take to exit after its last event
LOG_LINES = 15


def run_file(
    path: Path,
    as_json: bool = False,
    allow_command: bool = False,
    use_cpu: bool = False,
    allow_rewards: bool = False,
) -> int:
    """Train as a spec file says. Returns an exit code; see `loris run --help`."""
    try:
        spec = load_checked(path, use_cpu, allow_rewards)
        try:
            folder = new_run(spec)
            if allow_command:
                give_consent(folder, spec.export.after_command.strip())
        except SpecError as error:
            raise SpecError(path, add_line_numbers(path, error.errors)) from error
    except SpecError as error:
        return fail(error, path)
    try:
        # The engine exits when done, because nobody will chat with it.
        process = launch(folder, "train", exit_when_done=True)
    except OSError as error:
        print_error(_("The engine could not be started: {reason}").format(reason=visible(str(error))))
        return FAILED
    printer = choose_printer(as_json)
    try:
        printer.write(_("Run folder: {path}").format(path=visible(str(folder.path))))
        return Watch(folder, process, printer, path).run()
    finally:
        printer.close()


def load_checked(path: Path, use_cpu: bool, allow_rewards: bool) -> RunSpec:
    """The spec of a file, with all that can be checked before a start. Raises `SpecError`.

    `allow_rewards`: the user's consent to the file of reward functions that it names.
    """
    spec = load_spec(path)
    if use_cpu:
        spec = msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, use_cpu=True))
    errors = check_inputs(spec) or confirm_rewards(spec, allow_rewards)
    if errors:
        raise SpecError(path, add_line_numbers(path, errors))
    return spec


def choose_printer(as_json: bool) -> Printer:
    """Live progress on a terminal that supports it, else lines."""
    if as_json:
        return JsonPrinter()
    lines = LinePrinter()
    return LivePrinter(lines.console) if lines.console.is_terminal and not lines.console.is_dumb_terminal else lines


class _Signals:
    """Counts Ctrl-C and SIGTERM while it is entered, instead of letting them end Loris."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.terminates = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._count)
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as returned by signal()

    def _count(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.interrupts += 1
        else:
            self.terminates += 1


class Watch:
    """Follows one engine to its end, or until the user detaches."""

    def __init__(self, folder: RunFolder, process: subprocess.Popen[bytes], printer: Printer, source: Path) -> None:
        """`source`: the spec file to name in errors."""
        self._folder, self._process, self._printer, self._source = folder, process, printer, source
        self._state = RunState()
        self._interrupts_handled = 0  # the number of Ctrl-C
        self._terminated = False
        self._cancelled_early = False  # the user cancelled before there was anything to keep
        self._command: Command | None = None  # still to be sent to the engine

    def run(self) -> int:
        """Follow; returns the exit code."""
        events = Follower(self._folder)
        with _Signals() as signals:
            while True:
                gone = self._process.poll() is not None  # checked first: its final events can then be read
                for event in events.poll():
                    self._state.apply(event)
                    self._printer.show(event, self._state)
                if events.has_more:
                    continue
                self._printer.tick(self._state)
                if gone or self._state.ended:
                    break
                if signals.interrupts > 1 or signals.terminates > 1:
                    return self._detach()
                self._handle_signals(signals)
                time.sleep(POLL_SECONDS)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_SECONDS)
        self._printer.close()
        return self._finish()

    def _handle_signals(self, signals: _Signals) -> None:
        """Turn a first Ctrl-C into a stop command, and pass SIGTERM on."""
        if signals.interrupts > self._interrupts_handled:
            self._interrupts_handled = signals.interrupts
            self._stop()
        if signals.terminates and not self._terminated:
            self._terminated = True
            self._printer.write(_("Asked to end: the engine saves a checkpoint first."))
            self._process.terminate()
        if self._command:
            self._send(self._command)

    def _stop(self) -> None:
        rest = _(
            "What the spec asks for after training is still done, then its confirmed command; "
            "to skip it: loris stop --now"
        )
        again = _("Press Ctrl-C again to leave the engine running by itself.")
        match self._state.stage:
            case "starting" | "loading":
                self._command = Shutdown(id=0)
                self._cancelled_early = True
                self._printer.write(_("Stopping the engine: nothing was trained yet."))
            case "preparing" | "training":
                self._command = Stop(id=0)
                self._printer.write("\n".join((_("Stopping after this step; the model is kept."), rest, again)))
            case _:
                self._printer.write("\n".join((_("Training is over and the model is being saved."), rest, again)))

    def _send(self, command: Command) -> None:
        """Send a command once; retry on the next poll while the engine is not listening yet."""

        async def ask() -> None:
            async with Connection.connect(self._folder) as control:
                await asyncio.wait_for(control.ask(command), ANSWER_SECONDS)

        try:
            asyncio.run(ask())
        except EngineGone:
            return
        except CommandRefused as refused:
            self._printer.write(visible(render(refused.message)))
        except TimeoutError:
            self._printer.write(_("The engine is busy and has not answered yet."))
        self._command = None

    def _detach(self) -> int:
        self._printer.close()
        self._printer.write(_("The engine continues without this terminal. To see it again: loris"))
        self._printer.write(
            _("To stop it, with a checkpoint saved: kill {pid}. Its log: {path}").format(
                pid=self._process.pid, path=visible(str(self._folder.log))
            )
        )
        return INTERRUPTED

    def _finish(self) -> int:
        """Print the outcome; returns the exit code."""
        state = self._state
        if state.failed:
            return self._failed()
        if state.ended is None:
            return self._report_death()
        if self._terminated or state.ended.exit_code == TERMINATED:
            self._printer.write(_("The engine was asked to end."))
            return TERMINATED
        if state.finished is None or not state.trained:
            if self._cancelled_early:
                return INTERRUPTED
            print_error(_("The engine ended before anything was trained."))
            return state.ended.exit_code or FAILED
        self._printer.finish(state)
        if state.undelivered:
            for line in missing_lines(state.undelivered, self._folder.name):
                print_error(line)
            return UNDELIVERED
        return STOPPED if state.finished.outcome == "stopped" else COMPLETED

    def _failed(self) -> int:
        failed = self._state.failed
        assert failed is not None
        if failed.field:
            errors = add_line_numbers(self._source, [FieldError(failed.field, failed.message)])
            for line in error_lines(self._source, errors):
                print_error(line)
        else:
            print_error(_("The run failed: {reason}").format(reason=visible(render(failed.message))))
        if failed.hint:
            print_error(visible(render(failed.hint)))
        for line in describe_changes(failed.changes, self._folder.name):
            print_error(line)
        if not failed.field:
            self._log_tail()
        return exit_code_of(failed.field)

    def _report_death(self) -> int:
        code = self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                print_error(_("The engine was killed ({signal}) without a message.").format(signal=name))
                if -code == signal.SIGKILL:
                    print_error(_("The system usually does this when the memory runs out."))
        else:
            print_error(_("The engine died without a message (exit code {code}).").format(code=code))
        self._log_tail()
        return FAILED

    def _log_tail(self) -> None:
        """Print the end of the engine's log on standard error, and where the rest is."""
        log = LogFollower(self._folder)
        lines = [line for line in [*log.poll(), log.partial] if line.strip()]
        for line in lines[-LOG_LINES:]:
            print_error("  | " + visible(line))
        print_error(_("The whole log: {path}").format(path=visible(str(self._folder.log))))
