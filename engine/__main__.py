"""`python -m engine RUN_DIR`: the training process. Quick to start: the heavy import comes last.

The order matters: the lock before anything is written, the log before anything is printed, the first event and the
socket before the slow import, so that a terminal sees at once that the engine is alive.
"""

import os
import sys

from engine.runs.python_process import environment, python

# Started by hand or by torchrun: restart in safe mode before any other import, because the working directory may be
# someone else's run folder.
if __name__ == "__main__" and not (sys.flags.safe_path and sys.flags.utf8_mode):
    os.execve(sys.executable, python("-m", "engine", *sys.argv[1:]), environment())

import argparse
import io
import signal
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from engine.config.files import APPEND, open_file, write_text
from engine.config.local_paths import absolute_paths, is_local, non_utf8_path
from engine.config.oom_fallback import OutOfMemory
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import load_spec
from engine.hub.upload_process import OFFLINE_MARK
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, TERMINATED
from engine.messages.message import say
from engine.preflight.tested_versions import version_notice
from engine.protocol import events as ev
from engine.runs import machine
from engine.runs.folder import RunFolder
from engine.runs.gpu import HIDE_ALL, USE_CPU
from engine.runs.lock_file import acquire_lock
from engine.runtime import after_run
from engine.runtime.control import Control
from engine.runtime.environment import hub_is_reachable, installed_versions, set_environment
from engine.runtime.event_writer import EventWriter
from engine.runtime.explain import explain
from engine.runtime.ranks import is_main_process
from engine.runtime.recovery import RestartEngine, clean_up_folder, report_stop, restart
from engine.runtime.server import Server

CALLER_SECONDS = 0.5  # between checks whether the caller is gone


def parse_arguments() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m engine", description="The Loris training process.")
    parser.add_argument("run_dir", type=Path, help="the run folder, with spec.yaml in it")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--wait", action="store_true", help="load the base model, then wait for commands")
    mode.add_argument("--serve", action="store_true", help="load an earlier run's result and answer")
    mode.add_argument("--resume", action="store_true", help="go on from the newest whole checkpoint")
    parser.add_argument("--exit", action="store_true", help="end when training and exports are done")
    parser.add_argument("--caller", type=int, metavar="PID", help="end once this parent process is gone")
    return parser.parse_args()


def refuse(reason: str) -> NoReturn:
    """Exit before anything was done, with a line for the caller on standard error."""
    sys.stderr.write(reason + "\n")
    sys.exit(BAD_INPUT)


def lock_folder(folder: RunFolder) -> None:
    """Lock the folder for the life of this process, or exit with `BAD_INPUT`."""
    try:
        handle = acquire_lock(folder.lock)
    except BlockingIOError:
        refuse(f"{folder.path}: another engine is running on this folder")
    except OSError as error:
        refuse(f"{folder.path}: {error.strerror}")
    # The handle stays open: the kernel frees the lock when the process ends, however it ends. Workers forked by
    # datasets must not inherit it, or a killed engine would seem alive as long as an orphaned worker is.
    os.register_at_fork(after_in_child=lambda: os.close(handle))


class _Log(io.FileIO):
    """An output file that drops writes when the disk is full: a print in a library must not end training."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def detach(folder: RunFolder) -> None:
    """Detach from the terminal: own session, no SIGHUP, no standard input, all output to the log."""
    if os.getsid(0) != os.getpid():
        with suppress(PermissionError):  # already leads a process group, as a job of a shell does
            os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    log = open_file(folder.log, APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for handle in (nothing, log):
        if handle > 2:
            os.close(handle)
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(_Log(number, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))


def go_offline_without_hub(spec: RunSpec, waiting: bool, record: EventWriter) -> None:
    """If the Hub cannot be reached, make the libraries use only the local cache; warn if the run needs the Hub."""
    if hub_is_reachable():
        return
    os.environ["HF_HUB_OFFLINE"] = os.environ[OFFLINE_MARK] = "1"
    wanted = [spec.model.model_name] if waiting else [spec.model.model_name, spec.dataset.path]
    if not all(is_local(name) for name in wanted):
        message = say("The Hugging Face Hub cannot be reached: only what is on this machine is used.")
        record.emit(ev.Notice(code="hub_offline", message=message, level="warning"))


def watch_for_end(folder: RunFolder, control: Control, server: Server | None, caller: int | None) -> None:
    """End the process on request while the main thread is blocked in an import or a download.

    Also without a request, once the parent process `caller` is gone and no client is connected: else the engine of
    a command that was killed would hold the GPU until it was idle for too long.

    While training and saving the main thread checks the flags itself, because work would be lost.
    """

    def end_process(exit_code: int) -> None:
        control.refuse_all()
        if server:
            server.close()
        control.record.close(exit_code)
        sys.stdout.flush()
        import psutil

        for child in psutil.Process().children(recursive=True):  # processes that prepare data
            with suppress(psutil.Error):
                child.kill()
        os._exit(exit_code)

    def on_terminate() -> None:
        control.terminate.wait()
        if control.stage not in ("training", "saving"):
            end_process(TERMINATED)
        control.stop.set()

    def on_shutdown() -> None:
        control.shutdown.wait()
        if control.stop_now.is_set():
            return  # a stop sets this flag too: `on_stop` reports the stop first
        if control.stage in ("starting", "loading", "preparing"):
            end_process(COMPLETED)
        control.stop.set()

    def on_stop() -> None:
        control.stop_now.wait()
        time.sleep(0.1)  # until the client has its reply
        report_stop(folder, control.record, control.stop_mode)
        end_process(COMPLETED)

    def on_caller_gone() -> None:
        while os.getppid() == caller or control.has_clients:
            time.sleep(CALLER_SECONDS)
        control.end()

    for target in (on_terminate, on_shutdown, on_stop, *([on_caller_gone] if caller else [])):
        threading.Thread(target=target, name=f"loris-{target.__name__}", daemon=True).start()


def handle_signals(control: Control) -> None:
    """Set the flag of `watch_for_end` on SIGTERM and SIGINT. Before the first event, which publishes the pid."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.terminate.set())
        # Workers forked by datasets must die of these signals.
        os.register_at_fork(after_in_child=lambda number=number: signal.signal(number, signal.SIG_DFL))


def open_server(folder: RunFolder, control: Control) -> Server:
    """Listen on the control socket. Raises `UserError` if that is not possible, or not safe."""
    try:
        path = folder.default_socket
        write_text(folder.socket_path_file, str(path))
        return Server(path, control)
    except OSError as error:
        raise UserError(
            "no_socket",
            say("The engine cannot open its control socket: {reason}", reason=str(error)),
            say("Set TMPDIR to a folder that only you can write to."),
        ) from error


def read_spec(folder: RunFolder) -> RunSpec:
    """The run's spec. Raises `UserError` with the first error; all errors are in the log."""
    if message := non_utf8_path(folder.path):  # of an older Loris, or renamed
        raise UserError("not_utf8", message, None, "training.output_dir")
    try:
        return absolute_paths(load_spec(folder.spec))
    except SpecError as error:
        sys.stderr.write("\n".join([*error.lines(), ""]))
        first = error.errors[0]
        raise UserError(
            "spec_invalid", first.message, say("Correct spec.yaml in the run folder."), first.field or "spec"
        ) from None


def log_failure(failure: UserError) -> None:
    """Write into engine.log what the terminal shows of a failure: the cause, what to try, and with which values."""
    changes = failure.changes if isinstance(failure, OutOfMemory) else ()
    settings = ", ".join(f"{change.field} = {change.value}" for change in changes)
    lines = [str(failure.message), str(failure.hint or ""), f"Try: {settings}" if settings else ""]
    sys.stderr.write("".join(f"{line}\n" for line in lines if line))


def main() -> int:
    """Run the engine; the exit code is that of `EngineEnded`."""
    options = parse_arguments()
    folder = RunFolder(options.run_dir.absolute())
    leader = is_main_process()
    if leader:
        lock_folder(folder)
        detach(folder)
        clean_up_folder(folder)
    record = EventWriter(folder.events)
    control = Control(record)
    handle_signals(control)
    installed = installed_versions()
    record.emit(
        ev.EngineStarted(
            pid=os.getpid(),
            hostname=os.uname().nodename,
            versions=installed,
            boot_id=machine.boot_id(),
            memory_kills=machine.memory_kills(),
        )
    )
    if unlike := version_notice():
        record.emit(ev.Notice(code="not_as_tested", message=unlike))
    set_environment(installed)
    server: Server | None = None
    try:
        server = open_server(folder, control) if leader else None
        watch_for_end(folder, control, server, options.caller)
        spec = read_spec(folder)
        if spec.model.use_cpu or os.environ.get(USE_CPU):
            spec = msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, use_cpu=True))
            os.environ.update(HIDE_ALL)  # before PyTorch looks for GPUs
        os.chdir(folder.path)  # libraries may write files into the working directory
        go_offline_without_hub(spec, options.wait, record)

        from engine.session import Session  # imports unsloth: 15 to 30 seconds

        session = Session(folder, spec, control)
        exit_code = session.run(
            wait=options.wait, serve=options.serve, exit_when_done=options.exit, resume=options.resume
        )
    except RestartEngine:
        control.refuse_all()
        if server:
            server.close()
        restart(folder, options.exit)
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()  # into engine.log
        failure = explain(error)
        log_failure(failure)
        record.emit(ev.Failed.of(failure, record.stage))
        after_run.after_failure(folder, failure.message, record)
        exit_code = failure.exit_code
    control.refuse_all()
    if server:
        server.close()
    record.close(exit_code)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
