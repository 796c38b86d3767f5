"""`loris data SPEC.yaml`: proves a dataset without the wizard. Prints a table on a terminal, else JSON."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.client.proof_worker import MOST_ROWS, ProofWorker
from engine.config.fields import FieldError
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.config.spec_files import add_line_numbers, load_spec
from engine.messages.exit_codes import BAD_INPUT, COMPLETED, INTERRUPTED, exit_code_of
from engine.preflight.check import check_inputs
from engine.protocol.data_report import DataProblem, DataReport, ProofFailed, ProofProgress, ProvenRow, at_length
from tui.text.errors import error_lines, fail, print_error
from tui.text.json_output import to_json
from tui.text.proof import bars, describe_proof_progress, facts
from tui.text.sanitize import visible
from tui.text.translation import _, render


def run_data(path: Path, as_json: bool = False, most_rows: int | None = MOST_ROWS) -> int:
    """Prove the data of a spec file. Returns an exit code: 2 when a problem prevents training."""
    try:
        spec = load_spec(path)
        # Problems of the data itself go into the report, which shows fixes.
        errors = [error for error in check_inputs(spec) if error.field == "model.model_name"]
        if errors:
            raise SpecError(path, add_line_numbers(path, errors))
    except SpecError as error:
        return fail(error, path)
    console = Console(highlight=False)
    as_json = as_json or not console.is_terminal
    try:
        found = asyncio.run(_prove(spec, most_rows, show_progress=not as_json))
    except KeyboardInterrupt:
        return INTERRUPTED
    if isinstance(found, ProofFailed):
        for line in error_lines(path, add_line_numbers(path, [FieldError(found.field, found.message)])):
            print_error(line)
        if found.hint:
            print_error(visible(render(found.hint)))
        return exit_code_of(found.field)
    if as_json:
        sys.stdout.buffer.write(to_json(_shown(found), indent=2).encode() + b"\n")
    else:
        show(found, console)
    for line in error_lines(path, add_line_numbers(path, [FieldError(p.field, p.message) for p in found.stops])):
        print_error(line)
    return BAD_INPUT if found.stops else COMPLETED


async def _prove(spec: RunSpec, most_rows: int | None, show_progress: bool) -> DataReport | ProofFailed:
    worker, shown = ProofWorker(), ""
    try:
        async with aclosing(worker.prove(spec, most_rows)) as answers:
            async for answer in answers:
                if not isinstance(answer, ProofProgress):
                    return answer
                words = describe_proof_progress(answer)
                if show_progress and words != shown:
                    shown = words
                    sys.stderr.write(f"\r\x1b[2K{words}")
                    sys.stderr.flush()
    finally:
        worker.close()
        if shown:
            sys.stderr.write("\r\x1b[2K")
    raise AssertionError("the worker always ends with a report or a failure")


def _shown(report: DataReport) -> dict[str, object]:
    """The report for a script: messages as sentences, and the effect of the chosen length."""
    values: dict[str, object] = msgspec.to_builtins(report)
    values["why"] = str(report.why)
    values["at_length"] = msgspec.to_builtins(at_length(report, report.max_seq_length))
    values["examples"] = [_shown_row(row) for row in report.examples]
    values["problems"] = [
        {**msgspec.to_builtins(p), "message": str(p.message),
         "fixes": [{"label": str(fix.label), "changes": fix.changes} for fix in p.fixes]}
        for p in report.problems
    ]  # fmt: skip
    values.pop("number")
    return values


def _shown_row(row: ProvenRow) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(row)
    return {**values, "error": str(row.error) if row.error else None}


def show(report: DataReport, console: Console) -> None:
    """The report for a person."""
    for line in facts(report):
        console.print(Text(visible(line)))
    console.print()
    console.print(Text(_("Lengths in tokens"), style="bold"))
    for low, high, rows, bar in bars(report):
        mark = " ◂ max_seq_length" if low <= report.max_seq_length <= high else ""
        console.print(Text(f"{low:>7}–{high:<7} {rows:>8}  {bar}{mark}"))
    first = next((row for row in report.examples if row.tokens), None)
    if first:
        console.print()
        title = _("Row {row} as it is learned; what is underlined counts")
        console.print(Text(title.format(row=first.number), style="bold"))
        if first.rejected:
            console.print(Text(_("✓ chosen"), style="bold green"))
        console.print(_learned(first))
        if first.rejected:
            console.print(Text(_("✗ rejected"), style="bold red"))
            console.print(_learned(first.rejected))
    if report.problems:
        console.print()
        console.print(problems_table(report.problems))


def _learned(row: ProvenRow) -> Text:
    """The tokens of a row, or of one side of a pair; those learned are underlined."""
    text = Text()
    for token in row.tokens:
        text.append(visible(token.text), style="bold underline green" if token.learned else "dim")
    return text


def problems_table(problems: tuple[DataProblem, ...]) -> Table:
    """Stops and warnings, with their fixes."""
    table = Table(show_header=False, box=None, padding=(0, 1))
    for problem in problems:
        mark = Text("✗", style="bold red") if problem.level == "stop" else Text("!", style="yellow")
        words = Text(visible(render(problem.message)))
        if problem.row:
            words.append(
                "\n" + visible(_("Row {row}: {value}").format(row=problem.row, value=problem.value)), "dim"
            )
        for fix in problem.fixes:
            changes = ", ".join(f"{key}: {value!r}" for key, value in fix.changes.items())
            words.append("\n→ " + visible(f"{render(fix.label)}  ({changes})"))
        table.add_row(mark, words)
    return table
