"""Tries each fix of a report on the first rows: one that does not help, or leaves most rows out, is not offered."""

from collections.abc import Callable

import msgspec

from engine.config.change import replace_settings
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from engine.messages.errors import UserError
from engine.protocol.data_report import DataProblem, DataReport, Fix

Trial = Callable[[RunSpec], DataReport]


def with_tried_fixes(report: DataReport, spec: RunSpec, trial: Trial) -> DataReport:
    """The report with the fixes that work. `trial`: the report of the first rows with another spec."""
    problems = tuple(
        msgspec.structs.replace(one, fixes=tuple(fix for fix in one.fixes if _works(fix, one, report, spec, trial)))
        for one in report.problems
    )
    return msgspec.structs.replace(report, problems=problems)


def _works(fix: Fix, problem: DataProblem, report: DataReport, spec: RunSpec, trial: Trial) -> bool:
    """Whether a fix ends its problem and keeps most of the rows."""
    try:
        found = trial(replace_settings(spec, fix.changes))
    except (SpecError, UserError):
        return False
    if found.stops:  # behind the problem there may be another one, which can be fixed too
        return all(stop.code != problem.code and stop.fixes for stop in found.stops)
    measured = sum(rows for _, rows in found.lengths)
    return 2 * measured > found.rows and 2 * found.rows_total > report.rows_total
