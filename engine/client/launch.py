"""Creates run folders and starts engines in them, detached: they outlive the terminal."""

import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from engine.config.fields import FieldError
from engine.config.files import APPEND, open_file, write_text
from engine.config.local_paths import absolute_paths, non_utf8_paths
from engine.config.paths import runs_folder
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.messages.message import say
from engine.runs import pid_file
from engine.runs.folder import RunFolder
from engine.runs.gpu import has_accelerator
from engine.runs.python_process import environment, python
from engine.runs.summary_fields import write_run_spec

Mode = Literal["train", "wait", "serve", "resume"]

# What Python runs. For more GPUs, put torch.distributed.run and its --nproc-per-node before the module here.
ENGINE = ("-m", "engine")
MODE_ARGUMENTS: dict[Mode, tuple[str, ...]] = {
    "train": (),
    "wait": ("--wait",),
    "serve": ("--serve",),
    "resume": ("--resume",),
}
CPU_NICENESS = 5


def run_name(spec: RunSpec, now: float | None = None) -> str:
    """A name that sorts by time, such as 2026-11-23-1405-demo; `now` in seconds since 1970."""
    subject = spec.name.strip() or spec.model.model_name.rstrip("/").rpartition("/")[2]
    slug = re.sub(r"[^\w.-]+", "-", subject).strip("-.")[:40].rstrip("-.") or "run"
    return f"{time.strftime('%Y-%m-%d-%H%M', time.localtime(now))}-{slug}"


def new_run(spec: RunSpec) -> RunFolder:
    """Create a run folder (mode 0700) with the spec in it.

    It is in Loris's runs folder, or under `training.output_dir` with a link in the runs folder, so that it is
    listed. Raises `SpecError` at training.output_dir when it cannot be written, and at each path that is not UTF-8.
    """
    if errors := non_utf8_paths(spec):
        raise SpecError(None, errors)
    spec = absolute_paths(spec)
    listed = runs_folder()
    parent = Path(spec.training.output_dir) if spec.training.output_dir else listed
    try:
        listed.mkdir(parents=True, exist_ok=True, mode=0o700)
        parent.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(_claim(run_name(spec), parent, listed))
        write_run_spec(folder, spec)
    except OSError as error:
        message = say(
            "Loris cannot create a run folder in {folder}: {reason}.",
            folder=str(parent), reason=error.strerror or str(error),
        )  # fmt: skip
        raise SpecError(None, [FieldError("training.output_dir", message)]) from error
    return folder


def _claim(name: str, parent: Path, listed: Path) -> Path:
    """Create the first folder of this name, or name-2, name-3, that is free both in `parent` and in `listed`."""
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        link = listed / path.name
        number += 1
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        if os.path.realpath(parent) != os.path.realpath(listed):
            try:
                link.symlink_to(path.resolve(), target_is_directory=True)
            except FileExistsError:  # a run in another folder has this name
                path.rmdir()
                continue
        return path


def launch(
    folder: RunFolder, mode: Mode, exit_when_done: bool = False, ends_with_caller: bool = False
) -> subprocess.Popen[bytes]:
    """Start an engine on a run folder and return at once. Raises OSError when no process can be created.

    The engine leads its own session, has no standard input, and writes all its output to `folder.log`, so it
    does not depend on this terminal. `is_alive` reports whether it runs, its events what it does.
    `ends_with_caller`: it ends once this process is gone, however that died, and no other client is connected.
    """
    if mode == "wait":
        write_text(folder.draft, "")
    arguments = [*ENGINE, str(folder.path.resolve()), *MODE_ARGUMENTS[mode]]
    if exit_when_done:
        arguments.append("--exit")
    if ends_with_caller:
        arguments += ["--caller", str(os.getpid())]
    log = open_file(folder.log, APPEND)
    try:
        process = subprocess.Popen(
            python(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder.path,
            env=environment(),
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(log)
    pid_file.write_pid(folder, process.pid)
    if not has_accelerator():
        # Training on the CPU would take the time that the screen needs to handle keys.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, CPU_NICENESS)
    return process
