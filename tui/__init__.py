"""The terminal: a Textual wizard, live panes and chat, and the `loris` command. No torch here."""

import os
import sys


def _forget_working_directory() -> None:
    """Import nothing from the folder in which `loris` was typed: it may be a run folder from someone else.

    An empty or relative entry of PYTHONPATH, as in "$PYTHONPATH:/lib", means that folder.
    """
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    wanted = {os.path.dirname(__path__[0]), *filter(os.path.isabs, given)}
    relative = {os.path.abspath(entry) for entry in given if not os.path.isabs(entry)} - wanted
    if given != [""]:
        sys.path[:] = [entry for entry in sys.path if entry not in relative]


_forget_working_directory()
