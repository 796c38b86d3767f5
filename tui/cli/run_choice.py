"""Finds the run for a command: by its name, the start of its name, its title, or the newest live one."""

from pathlib import Path

from engine.config.fields import did_you_mean
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunSummary, list_runs, summarise


def _no_run(message: Message, code: str = "no_such_run") -> UserError:
    return UserError(code, message, field="run")


def find_run(name: str, live_only: bool = False) -> RunSummary:
    """The run of this name, start of a name, title or path. Empty: the newest live one, else the newest.

    `live_only`: without a name, accept only a live one. Raises `UserError`, with code several_runs
    when several match.
    """
    if name and (Path(name).expanduser() / "spec.yaml").is_file():
        return summarise(RunFolder(Path(name).expanduser().resolve()))
    runs = [run for run in list_runs() if not run.draft or run.alive]
    if not name:
        for run in runs:
            if run.alive and not run.draft:
                return run
        if live_only:
            raise _no_run(say("No run is active. See: loris ls"))
        if not runs:
            raise _no_run(say("There are no runs yet. Start one with: loris, or loris run SPEC.yaml"))
        return runs[0]
    start = name.casefold()
    for found in (
        [run for run in runs if run.name == name],
        [run for run in runs if run.title == name],
        [run for run in runs if run.name.startswith(name)],
        [run for run in runs if run.title.casefold().startswith(start)],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(run.name for run in found[:5])
            message = say('"{name}" could be any of these: {names}', name=name, names=names)
            raise _no_run(message, "several_runs")
    if suggestion := did_you_mean(name, [run.name for run in runs] + [run.title for run in runs]):
        raise _no_run(say('There is no run "{name}". Did you mean {near}?', name=name, near=suggestion))
    raise _no_run(say('There is no run "{name}". See: loris ls', name=name))
