"""Problems of pairs, votes and prompts: what nothing, or the wrong thing, would be learned from."""

from collections.abc import Iterator

from engine.config.run_spec import RunSpec
from engine.dataset.answer_counts import AnswerCounts, FirstRow
from engine.dataset.answers import PairMapping
from engine.messages.message import Message, say
from engine.proof.measure import RowCounts
from engine.protocol.data_report import DataProblem, Fix

LENGTH = "model.max_seq_length"
MOST_LENGTH = 131_072
SHARES = (0.01, 0.0)  # of rows that may stay longer than a context length that is offered
FEW_PAIRS = 5  # too few to say that the chosen answers are always longer
NEARLY_ALL = 0.95
UNBALANCED = 3  # times as many votes of one kind, by weight
CODES = {
    "dataset.rejected_column": "pairs_equal",
    "dataset.chosen_column": "sides_swapped",
    "dataset.label_column": "one_vote",
}


def answer_problems(found: RowCounts, spec: RunSpec) -> Iterator[DataProblem]:
    """The problems of the answers that are compared or voted on, and of prompts without room for an answer."""
    counts = found.answers
    if error := counts.error(all_votes=True):
        code = CODES[error.field]
        rows = {"pairs_equal": counts.equal, "sides_swapped": counts.swapped}.get(code, FirstRow())
        fixes = (_swap(counts),) if code == "sides_swapped" else ()
        yield _problem(code, rows, error.message, fixes, level="stop", field=error.field)
    else:
        yield from _pairs(counts, spec)
        yield from _votes(counts, spec)
    if found.no_room.count:
        yield _no_room(found, spec)


def _pairs(counts: AnswerCounts, spec: RunSpec) -> Iterator[DataProblem]:
    if counts.equal.count:
        message = say("Pairs of equal answers: {count}. They teach nothing.", count=counts.equal.count)
        yield _problem("pairs_equal", counts.equal, message)
    if counts.swapped.count:
        message = say("Pairs whose rejected answer has the higher score: {count} of {scored}.",
                      count=counts.swapped.count, scored=counts.scored)  # fmt: skip
        yield _problem("sides_swapped", counts.swapped, message)
    if counts.level.count:
        message = say("Pairs whose scores are equal: {count} of {scored}. They are learned as their columns say.",
                      count=counts.level.count, scored=counts.scored)  # fmt: skip
        yield _problem("scores_equal", counts.level, message)
    if counts.pairs >= FEW_PAIRS and counts.longer.count >= NEARLY_ALL * counts.pairs:
        message = say(
            "The chosen answer is the longer one in {count} of {pairs} pairs: the model would learn to write long "
            "answers. Add pairs where the short one is chosen.", count=counts.longer.count, pairs=counts.pairs,
        )  # fmt: skip
        by_token = Fix(say("Compare by token, not by length"), {"dpo.loss_type": "sigmoid_norm"})
        usual = spec.training.method == "dpo" and spec.dpo.loss_type == "sigmoid"
        yield _problem("chosen_longer", counts.longer, message, (by_token,) if usual else ())


def _votes(counts: AnswerCounts, spec: RunSpec) -> Iterator[DataProblem]:
    if not (counts.good.count and counts.bad.count):
        return
    good, bad = counts.good.count * spec.kto.desirable_weight, counts.bad.count * spec.kto.undesirable_weight
    if max(good, bad) <= UNBALANCED * min(good, bad):
        return
    message = say("{good} good votes and {bad} bad ones, by weight {share} good: the rarer ones hardly count.",
                  good=counts.good.count, bad=counts.bad.count, share=f"{good / (good + bad):.0%}")  # fmt: skip
    name, factor = ("desirable_weight", bad / good) if good < bad else ("undesirable_weight", good / bad)
    weight = round(getattr(spec.kto, name) * factor, 2)
    fix = Fix(
        say("Set {name} to {weight}, so that both count alike", name=name, weight=weight), {f"kto.{name}": weight}
    )
    yield _problem("votes_unbalanced", FirstRow(), message, (fix,), field=f"kto.{name}")


def _no_room(found: RowCounts, spec: RunSpec) -> DataProblem:
    longest, prompts = spec.grpo.max_completion_length, sum(found.lengths.values())
    lengths = dict.fromkeys(context_length_for(found, share, longest) for share in SHARES)
    fixes = [Fix(say("Set the context length to {length}", length=one), {LENGTH: one}) for one in lengths]
    stop = found.no_room.count > spec.dataset.max_cut_share * prompts
    if stop and found.no_room.count < prompts:
        fixes.append(Fix(say("Train without these prompts"), {"dataset.max_cut_share": 1.0}))
    message = say(
        "Prompts that leave no room for an answer of {longest} tokens in a context of {length}: {count} of "
        "{prompts}. They are left out.",
        longest=longest, length=spec.model.max_seq_length, count=found.no_room.count, prompts=prompts,
    )  # fmt: skip
    issue = found.no_room
    rows = FirstRow(issue.count, issue.row, issue.value)
    field = "grpo.max_completion_length"
    return _problem("no_room", rows, message, tuple(fixes), level="stop" if stop else "warning", field=field)


def _swap(counts: AnswerCounts) -> Fix:
    """Reads the sides the other way round. Columns that the user named in reverse get their usual roles again."""
    mapping = counts.mapping
    assert isinstance(mapping, PairMapping)
    changes = {"dataset.chosen_column": mapping.rejected, "dataset.rejected_column": mapping.output}
    return Fix(say("Swap chosen and rejected"), changes)


def _problem(
    code: str,
    rows: FirstRow,
    message: Message,
    fixes: tuple[Fix, ...] = (),
    *,
    level: str = "warning",
    field: str = "",
) -> DataProblem:
    return DataProblem(
        code=code, level="stop" if level == "stop" else "warning", message=message, field=field,
        row=rows.row or None, value=rows.value, count=rows.count, fixes=fixes,
    )  # fmt: skip


def context_length_for(found: RowCounts, share: float, more: int = 0) -> int:
    """The context length that fits all rows but a share of them and `more` tokens each, in steps of 64."""
    left = sum(found.lengths.values()) * share
    for length in sorted(found.lengths, reverse=True):
        left -= found.lengths[length]
        if left < 0:
            return min(MOST_LENGTH, -(-(length + more) // 64) * 64)
    return 64
