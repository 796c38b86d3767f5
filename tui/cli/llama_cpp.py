"""Finds llama.cpp for `loris export`, and fetches and builds it on request."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from engine.export.build_llama_cpp import FetchStep, fetch_and_build
from engine.export.cancellation import Cancelled
from engine.export.llama_cpp import find_llama_cpp, inspect_llama_cpp
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, FAILED, INTERRUPTED
from tui.state.llama_build import describe_build_step
from tui.state.settings import llama_cpp_folder
from tui.text.errors import fail, print_error
from tui.text.sanitize import visible
from tui.text.translation import _, render


def find_or_fetch(options: argparse.Namespace) -> int:
    """Put the folder of llama.cpp into the options; returns COMPLETED, or the exit code to end with."""
    found = find_llama_cpp(options.llama_cpp or llama_cpp_folder())
    if found.error and options.fetch_llama_cpp:
        code, folder = _fetch(options.json)
        if folder is None:
            return code
        found = inspect_llama_cpp(folder)
    if found.error:
        more = _("To download and build it (37 MB or a little more, 3-15 minutes): --fetch-llama-cpp")
        words = render(found.error) + ("" if options.fetch_llama_cpp else f" {more}")
        print_error(visible(f"--llama-cpp: {words}"))
        return BAD_INPUT
    options.llama_cpp = str(found.folder)  # the engine itself might find another one
    return COMPLETED


def _fetch(quiet: bool) -> tuple[int, Path | None]:
    """(exit code, the folder of the built llama.cpp, or None when the build failed)."""
    cancelled = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: cancelled.set())
    printed = ""

    def report(step: FetchStep, done: int, total: int) -> None:
        nonlocal printed
        tenths = 10 * done // total * total // 10 if total else 0  # ten lines are enough
        words = describe_build_step(step, tenths, total)
        if words != printed and not quiet:
            printed = words
            print(words, file=sys.stderr, flush=True)  # noqa: T201

    try:
        return COMPLETED, fetch_and_build(report, cancelled.is_set)
    except Cancelled:
        print_error(_("Cancelled."))
        return INTERRUPTED, None
    except UserError as failure:
        return fail(failure), None
    except OSError as error:
        print_error(visible(str(error)))
    finally:
        signal.signal(signal.SIGINT, before)
    return FAILED, None
