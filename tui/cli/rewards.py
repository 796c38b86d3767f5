"""`loris rewards SPEC.yaml`: tries the rewards of a GRPO spec without the wizard, and prints a table or JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.client.serving import serving
from engine.config.fields import FieldError
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import add_line_numbers
from engine.messages.errors import UserError
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, INTERRUPTED
from engine.messages.message import Message, say
from engine.protocol import events as ev
from engine.protocol.commands import TryRewards
from tui.cli.run import load_checked
from tui.text.errors import error_lines, fail, print_error
from tui.text.json_output import to_json
from tui.text.rewards import answer_cells, describe_spread, end_of, headers_of, names_of, one_line, rows_of
from tui.text.sanitize import visible
from tui.text.translation import _, render


def run_rewards(path: Path, as_json: bool = False, use_cpu: bool = False, allow_rewards: bool = False) -> int:
    """Try the rewards of a spec file. Returns an exit code: 2 when nothing can be learned."""
    try:
        spec = load_checked(path, use_cpu, allow_rewards)
        if spec.training.method != "grpo":
            message = say("Only GRPO has rewards: set training.method to grpo.")
            raise SpecError(path, add_line_numbers(path, [FieldError("training.method", message)]))
        trial, nothing = asyncio.run(_try(spec))
    except SpecError as error:
        return fail(error, path)
    except UserError as error:
        return _failed(path, error)
    except KeyboardInterrupt:
        return INTERRUPTED
    if trial is None:
        return _failed(path, UserError("no_trial", say("The engine reported no trial.")))
    if as_json:
        sys.stdout.buffer.write(to_json(_as_values(trial, nothing), indent=2).encode() + b"\n")
    else:
        _show(trial, Console(highlight=False))
    if nothing:
        print_error(visible(render(nothing)))
    return BAD_INPUT if nothing else COMPLETED


async def _try(spec: RunSpec) -> tuple[ev.Completions | None, Message | None]:
    """(the answers with their scores, why nothing can be learned)."""
    print_error(_("Loading the model…"))
    async with serving(None, lambda *_waits: None, spec=spec) as (control, client):
        done = await control.ask(TryRewards(id=0, spec=spec))
        await client.catch_up()
        return client.state.trial, done.note


def _failed(path: Path, error: UserError) -> int:
    """Print an error of the engine, at its field in the spec file if it has one."""
    if not error.field:
        return fail(error)
    for line in error_lines(path, add_line_numbers(path, [FieldError(error.field, error.message)])):
        print_error(line)
    return error.exit_code


def _as_values(trial: ev.Completions, nothing: Message | None) -> dict[str, object]:
    return {
        "rewards": names_of(trial),
        "nothing_learned": str(nothing) if nothing else None,
        "answers": msgspec.to_builtins(trial.answers),
    }


def _show(trial: ev.Completions, console: Console) -> None:
    headers = headers_of(trial)
    cells = answer_cells(headers, console.width)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column(_("Prompts and answers"), no_wrap=True, overflow="ellipsis", width=cells)
    for header in headers:
        table.add_column(Text(visible(header)), justify="right", no_wrap=True)
    for words, scores in rows_of(trial):
        if scores:
            table.add_row(Text("  " + visible(one_line(words))), *scores)
        else:
            table.add_row(Text(end_of(visible(words), cells), style="bold"))
    console.print(table)
    console.print(Text(describe_spread(trial)))
