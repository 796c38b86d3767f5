"""`loris` and `loris attach`: the commands that need a terminal."""

import os
import sys
from typing import Literal

from engine.messages.exit_codes import BAD_INPUT, COMPLETED
from tui.text.translation import _


def _all_terminals() -> bool:
    """Whether keys can be read and the screen drawn; the wizard draws on standard error."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def unusable_terminal() -> str:
    """Why the wizard cannot be shown here; empty when it can."""
    if not _all_terminals():
        return _("The wizard needs a terminal. Without one, use: loris run SPEC.yaml")
    if os.environ.get("TERM", "") in ("dumb", "unknown"):
        return _("This terminal cannot show the wizard (TERM={term}). Use: loris run SPEC.yaml").format(
            term=os.environ["TERM"]
        )
    return ""


def wizard(preset: str | None, language: str | None, start: Literal["home", "review"]) -> int:
    """Open the wizard; returns when the user leaves it."""
    if why := unusable_terminal():
        print(why, file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    # Importing the wizard takes a moment, on a cold disk seconds.
    print(_("Loris is starting..."), end="\r", file=sys.stderr, flush=True)  # noqa: T201
    if preset and (why := _preset_error(preset)):
        from tui.text.sanitize import visible

        print(visible(why), file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    from tui.app import LorisApp

    app = LorisApp(preset=preset, language=language, start=start)
    sys.stderr.write("\x1b[2K")  # otherwise the line would still be there after the wizard ends
    app.run()
    return app.return_code or COMPLETED


def attach(run: str, language: str | None) -> int:
    """Open the screen of a run; returns when the user leaves it."""
    if why := unusable_terminal():
        print(why, file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    from engine.messages.errors import UserError
    from tui.cli.run_choice import find_run
    from tui.text.errors import fail

    try:
        found = find_run(run)
    except UserError as error:
        return fail(error)
    from tui.app import LorisApp

    app = LorisApp(language=language, run=found.folder)
    app.run()
    return app.return_code or COMPLETED


def _preset_error(name: str) -> str:
    """Why a preset cannot be used; empty when it can."""
    from engine.config.fields import did_you_mean
    from engine.config.presets import find_preset
    from engine.config.presets import list_presets as all_presets
    from tui.text.errors import error_lines

    found = find_preset(name)
    if found and found.error:
        return "\n".join(error_lines(found.path, found.error.errors))
    if found:
        return ""
    suggestion = did_you_mean(name, [preset.name for preset in all_presets()])
    if suggestion:
        return _('There is no preset "{name}". Did you mean {near}?').format(name=name, near=suggestion)
    return _('There is no preset "{name}". See: loris presets').format(name=name)
