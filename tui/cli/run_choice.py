"""Finds the run that a command means: by its name, the start of it, its title, or the newest that is live."""

from __future__ import annotations

from pathlib import Path

from engine.config.fields import did_you_mean
from engine.runs.folder import RunFolder
from engine.runs.run_list import RunSummary, list_runs, summarise
from tui.text.translation import _


class NoSuchRun(Exception):
    """No run, or more than one (`several`), is meant. The text says so, for the person at the terminal."""

    def __init__(self, text: str, several: bool = False) -> None:
        super().__init__(text)
        self.several = several


def find_run(name: str, live_only: bool = False) -> RunSummary:
    """The run of this name, start of a name, title or path. Empty: the newest live one, else the newest.

    `live_only`: without a name, none but a live one will do. Raises `NoSuchRun`.
    """
    if name and (Path(name).expanduser() / "spec.yaml").is_file():
        return summarise(RunFolder(Path(name).expanduser().resolve()))
    runs = [run for run in list_runs() if not run.draft or run.alive]
    if not name:
        for run in runs:
            if run.alive and not run.draft:
                return run
        if live_only:
            raise NoSuchRun(_("No run is live. See: loris ls"))
        if not runs:
            raise NoSuchRun(_("There are no runs yet. Start one with: loris, or loris run SPEC.yaml"))
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
            text = _('"{name}" could be any of these: {names}').format(name=name, names=names)
            raise NoSuchRun(text, several=True)
    if near := did_you_mean(name, [run.name for run in runs] + [run.title for run in runs]):
        raise NoSuchRun(_('There is no run "{name}". Did you mean {near}?').format(name=name, near=near))
    raise NoSuchRun(_('There is no run "{name}". See: loris ls').format(name=name))
