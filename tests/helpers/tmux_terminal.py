"""The installed command in a real terminal: a tmux server of its own, keys in, screen out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path


class Tmux:
    """One window of `columns` x `lines`. `close` ends the server, as a lost connection would."""

    def __init__(self, socket: Path, columns: int, lines: int, env: Mapping[str, str]) -> None:
        self._socket = str(socket)
        settings = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
        size = ("-x", str(columns), "-y", str(lines))
        # A shell without a profile: only the program under test draws on the screen.
        self._run("-f", "/dev/null", "new-session", "-d", "-s", "loris", *size, *settings, "sh")

    def _run(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names for them, such as Enter, C-n, F2."""
        self._run("send-keys", "-t", "loris", *names)

    def type(self, text: str) -> None:
        """Type a text literally."""
        self._run("send-keys", "-t", "loris", "-l", text)

    def screen(self) -> str:
        """The current screen."""
        return self._run("capture-pane", "-p", "-t", "loris")

    def program(self) -> int:
        """The pid of the program that the shell runs."""
        shell = self._run("display-message", "-p", "-t", "loris", "#{pane_pid}").strip()
        found = subprocess.run(["pgrep", "-P", shell], check=True, capture_output=True, text=True)
        return int(found.stdout)

    def wait_for(self, *texts: str, seconds: float = 60) -> str:
        """The screen, once it shows all of these texts. Fails with the actual screen."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            screen = self.screen()
            if all(text in screen for text in texts):
                return screen
            time.sleep(0.2)
        raise AssertionError(f"{texts} did not appear in {seconds} s; the screen shows:\n{self.screen()}")

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)
