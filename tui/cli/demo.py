"""`loris demo`: the demo of a training method."""

import argparse

from engine.config.presets import shipped_preset
from engine.messages.exit_codes import BAD_INPUT
from tui.cli.run import run_file
from tui.cli.wizard import unusable_terminal, wizard
from tui.text.errors import print_error
from tui.text.method import CHOICES
from tui.text.sanitize import visible
from tui.text.translation import _


def run_demo(options: argparse.Namespace) -> int:
    """Open the demo in the wizard, or without a terminal run it at once; returns the exit code."""
    choice = CHOICES.get(options.method)
    if choice is None or not shipped_preset(choice.preset).is_file():
        known = ", ".join(name for name, one in CHOICES.items() if shipped_preset(one.preset).is_file())
        words = _("There is no demo of {method}. There are: {known}.")
        print_error(words.format(method=visible(options.method), known=known))
        return BAD_INPUT
    if unusable_terminal():
        return run_file(shipped_preset(choice.preset), use_cpu=options.cpu)
    return wizard(choice.preset, options.lang, "review")
