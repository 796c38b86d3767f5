"""Texts of a trial of rewards: the answers to each prompt, and their scores."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len

from engine.protocol import events as ev
from tui.text.translation import _

SAME = 1e-9
NAME_CELLS, SCORE_CELLS = 12, 5  # of the columns with scores
LEAST_CELLS = 20  # of the column with answers
CUT = "~ "  # before an answer that was cut


def groups_of(trial: ev.Completions) -> list[list[ev.ScoredAnswer]]:
    """The answers to each prompt."""
    return [list(group) for _prompt, group in groupby(trial.answers, lambda answer: answer.prompt)]


def names_of(trial: ev.Completions) -> list[str]:
    """The names of the checks."""
    return list(trial.answers[0].scores) if trial.answers else []


def describe_score(score: float | None) -> str:
    return "–" if score is None else f"{score:.2f}".removesuffix("0").removesuffix(".0")


def describe_spread(trial: ev.Completions) -> str:
    """How many prompts have answers that the checks tell apart."""
    groups = groups_of(trial)
    apart = sum(max(one.reward for one in group) - min(one.reward for one in group) > SAME for group in groups)
    return _("The checks tell the answers apart for {count} of {total} prompts.").format(
        count=apart, total=len(groups)
    )


def one_line(text: str) -> str:
    return " ".join(text.split())


def end_of(text: str, cells: int) -> str:
    """The end of a text, where a prompt has its question, in one line of at most `cells` columns."""
    line = one_line(text)
    if cell_len(line) <= cells:
        return line
    while cell_len(line) > cells - 1:
        line = line[1:]
    return "…" + line


def rows_of(trial: ev.Completions) -> Iterator[tuple[str, Sequence[str]]]:
    """(a prompt, nothing) before its answers, and (an answer, its scores and their weighted sum), as they are."""
    names = names_of(trial)
    for group in groups_of(trial):
        yield group[0].prompt, ()
        for answer in group:
            scores = [describe_score(answer.scores.get(name)) for name in names]
            yield (CUT if answer.cut else "") + answer.answer, [*scores, describe_score(answer.reward)]


def headers_of(trial: ev.Completions) -> list[str]:
    """The headers of the columns with scores."""
    return [
        name if len(name) <= NAME_CELLS else name[: NAME_CELLS - 1] + "…" for name in (*names_of(trial), _("sum"))
    ]


def answer_cells(headers: Sequence[str], cells: int) -> int:
    """How wide the column of the answers can be in a table of `cells` columns."""
    return max(LEAST_CELLS, cells - sum(max(SCORE_CELLS, cell_len(header)) + 2 for header in headers) - 2)
