"""Runs that Loris's engine trains one after the other, in one process: a folder with a spec for each."""

import sys
from pathlib import Path

from engine.config.spec_files import load_spec
from engine.runs.folder import RunFolder
from engine.runtime.control import Control
from engine.runtime.event_writer import EventWriter
from engine.session import Session
from tests.helpers import engine_imports  # noqa: F401  first: it imports Unsloth, which patches the others

for name in sys.argv[1:]:
    folder = RunFolder(Path(name))
    control = Control(EventWriter(folder.events))
    Session(folder, load_spec(folder.spec), control).run(wait=False, serve=False, exit_when_done=True)
