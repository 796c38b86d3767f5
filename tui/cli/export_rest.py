"""`loris export RUN --rest`: carries out what the spec asks for and is not done, then its confirmed command."""

import argparse
import asyncio
import os

from engine.client.connection import Connection
from engine.client.engine_client import EngineClient
from engine.client.serving import require_result
from engine.config.local_paths import absolute_paths
from engine.config.spec_files import load_spec
from engine.export.deliverables import undelivered
from engine.messages.errors import UserError
from engine.messages.exit_codes import COMPLETED, UNDELIVERED
from engine.protocol import commands as co
from engine.protocol import events as ev
from engine.protocol.state import read_state
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tui.cli.export import ExportCommand, final_reply
from tui.cli.printer import line_of
from tui.cli.run_choice import find_run
from tui.text.errors import fail
from tui.text.run_states import missing_lines
from tui.text.sanitize import visible
from tui.text.translation import _

POLL_SECONDS = 0.3


def run_rest(options: argparse.Namespace) -> int:
    """Returns an exit code."""
    try:
        folder = find_run(options.run).folder
        spec = absolute_paths(load_spec(folder.spec))
        if not is_alive(folder):
            require_result(folder)
    except UserError as error:
        return fail(error)
    state = read_state(folder.events)
    missing = [one.label for one in undelivered(spec.export, folder, state)]
    # Of an engine that was killed after the last of them, the events may still name it.
    return RestCommand(folder, options).carry_out(missing or list(state.undelivered))


class RestCommand(ExportCommand):
    """Sends one request, which the engine carries out even if this process is gone."""

    def __init__(self, folder: RunFolder, options: argparse.Namespace) -> None:
        super().__init__(folder, options, [])

    def carry_out(self, missing: list[str]) -> int:
        """Start no engine when nothing is missing."""
        if not missing:
            self._result(_("Everything that the spec asks for is done."))
            return COMPLETED
        self._print(_("Missing: {names}").format(names=visible(", ".join(missing))))
        return asyncio.run(self.run())

    async def _carry_out(self, control: Connection, client: EngineClient) -> int:
        self._request = control.request(co.Deliver(id=0, token=os.environ.get("HF_TOKEN", "")))
        reading = asyncio.create_task(final_reply(self._request, self._print_progress))
        while not reading.done():
            self._print_events(client)
            await asyncio.wait({reading}, timeout=POLL_SECONDS)
        self._request = None
        self._print_events(client)
        reply = reading.result()
        if isinstance(reply, co.Done):
            self._result(_("Everything that the spec asks for is done."))
            return COMPLETED
        if reply.code != "undelivered":
            return self._refused(reply)
        for line in missing_lines(client.state.undelivered, self._folder.name):
            self._print(line)
        return UNDELIVERED

    def _print_events(self, client: EngineClient) -> None:
        for event in client.read_events():
            if self._options.json:
                self._print_json(event)
            elif isinstance(event, ev.Notice | ev.Exported | ev.Pushed | ev.PushFailed):
                self._result(line_of(event))
