"""The exit codes: all different, and listed in the --help of each command."""

from __future__ import annotations

import re
import signal

import pytest

from engine.messages import exit_codes
from engine.messages.exit_codes import EXIT_CODE_HELP
from tui.cli.main import main

CODES = {name: code for name, code in vars(exit_codes).items() if name.isupper() and isinstance(code, int)}


def test_exit_codes_are_unique() -> None:
    assert len(set(CODES.values())) == len(CODES)


def test_exit_codes_of_signals_are_those_of_a_shell() -> None:
    by_signal = {"INTERRUPTED": "SIGINT", "KILLED": "SIGKILL", "BROKEN_PIPE": "SIGPIPE", "TERMINATED": "SIGTERM"}
    assert {name: code - 128 for name, code in CODES.items() if code > 128} == {
        name: signal.Signals[other] for name, other in by_signal.items()
    }


@pytest.mark.parametrize("command", [*EXIT_CODE_HELP, "demo"])
def test_help_lists_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    table = capsys.readouterr().out.partition("exit codes:\n")[2]
    found = dict(re.findall(r"^  (\d+) +(.+)$", table, re.MULTILINE))
    assert found == {
        str(code): str(text) for code, text in EXIT_CODE_HELP["run" if command == "demo" else command].items()
    }
    assert set(map(int, found)) <= set(CODES.values())
