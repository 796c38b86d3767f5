"""Turns counts into problems: what each one means, its first row, and its fixes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from engine.config.fields import FieldError
from engine.config.run_spec import RunSpec
from engine.dataset.detected import GUESS, Detected
from engine.dataset.mapping import BadRow, Row
from engine.messages.errors import UserError
from engine.messages.message import Message, say
from engine.proof.answer_problems import LENGTH, SHARES, answer_problems, context_length_for
from engine.proof.measure import RowCounts, RowIssue
from engine.protocol.data_report import DataProblem, Fix
from engine.training.hold_out import HeldOut, describe_kept_apart, describe_overlap
from engine.training.row_check import COUNTED, STOPS, TIES

LEARN_ANSWERS = Fix(say("Learn the answers only"), {"dataset.train_on_responses_only": True})
LEARN_ALL = Fix(say("Learn all of each text"), {"dataset.train_on_responses_only": False})
LEAVE_OUT = Fix(say("Leave these rows out, and list them in dropped.jsonl"), {"dataset.drop_bad_rows": True})
ACCEPT = Fix(say("Train without what is missing"), {"dataset.missing_parts": "accept"})


def problems_of(found: RowCounts, spec: RunSpec, *, train_on_all: bool, eos: str) -> tuple[DataProblem, ...]:
    """The problems, stops first. `train_on_all`: nothing is masked."""
    unlearned = _unlearned(found, spec, train_on_all)
    all_cut_off = any(problem.field == LENGTH and problem.level == "stop" for problem in unlearned)
    problems = [
        *_bad_rows(found, spec),
        *_incomplete_rows(found, spec),
        *unlearned,
        *([] if all_cut_off else _cut(found, spec)),
        *_endless(found, spec, eos),
        *answer_problems(found, spec),
    ]
    if not found.lengths and not any(problem.level == "stop" for problem in problems):
        message = (
            say(TIES, count=found.tied.count)
            if found.tied.count and not found.bad.message
            else say(
                "Every row is left out: nothing would be learned. The first: {reason}",
                reason=str(found.bad.message),
            )
            if found.bad.message
            else say("No row of the dataset has an answer.")
        )
        issue = found.bad if found.bad.message else found.tied if found.tied.count else found.empty
        problems.append(_problem("dataset_empty", "stop", issue, message, (), "dataset.path"))
    elif found.empty.count:
        message = say("Rows without an answer: {count}. They are left out.", count=found.empty.count)
        problems.append(_problem("rows_empty", "warning", found.empty, message, ()))
    if found.tied.count and found.lengths:
        problems.append(_problem("rows_tied", "warning", found.tied, say(TIES, count=found.tied.count), ()))
    if found.duplicate.count:
        message = say("Duplicate rows: {count}.", count=found.duplicate.count)
        problems.append(_problem("rows_duplicate", "warning", found.duplicate, message, ()))
    if found.marked.count:
        message = say(
            "Rows whose own text contains {marker}, which belongs to the template: {count}. The model "
            "may read it as the end of a turn.", marker=found.marked.value, count=found.marked.count,
        )  # fmt: skip
        problems.append(_problem("markers_in_text", "warning", found.marked, message, ()))
    if found.overlap.count:
        message = describe_overlap(found.overlap.count)
        problems.append(_problem("rows_on_both_sides", "warning", found.overlap, message, ()))
    return tuple(sorted(problems, key=lambda problem: problem.level != "stop"))


def kept_apart(found: HeldOut) -> tuple[DataProblem, ...]:
    """What to report of rows that are on neither side, as they are equal to rows held out."""
    if not found.kept_apart:
        return ()
    message = describe_kept_apart(found.kept_apart)
    return (DataProblem(code="rows_kept_apart", level="warning", message=message, field="dataset.test_size",
                        count=found.kept_apart),)  # fmt: skip


def _problem(
    code: str, level: Any, issue: RowIssue, message: Message, fixes: tuple[Fix, ...], field: str = ""
) -> DataProblem:
    return DataProblem(
        code=code, level=level, message=message, field=field or issue.field, row=issue.row or None,
        value=issue.value, count=issue.count, fixes=fixes,
    )  # fmt: skip


def _bad_rows(found: RowCounts, spec: RunSpec) -> list[DataProblem]:
    bad = found.bad
    if not bad.count or bad.message is None:
        return []
    if spec.dataset.drop_bad_rows:
        message = say("Rows left out: {count}. The first: {reason}", count=bad.count, reason=str(bad.message))
        return [_problem("rows_dropped", "warning", bad, message, ())]
    message = say("Rows that cannot be learned: {count}. The first: {reason}", count=bad.count,
                reason=str(bad.message))  # fmt: skip
    leave_out = (LEAVE_OUT,) if 2 * sum(found.lengths.values()) > found.rows else ()
    answers = (LEARN_ANSWERS,) if bad.field == "dataset.train_on_responses_only" else ()
    fixes = (*bad.fixes, *answers, *_role_fixes(bad.message, spec), *leave_out)
    return [_problem("rows_bad", "stop", bad, message, fixes)]


def _role_fixes(why: Message, spec: RunSpec) -> Iterator[Fix]:
    """Ways to read names in turns that are no roles: one is the assistant, or the second who speaks."""
    names = str(why.values.get("unknown") or "").splitlines()
    ways: list[tuple[str, ...]] = [("*=assistant",)] if names else []
    if len(names) == 1:
        ways.insert(0, (f"{names[0]}=assistant",))
    elif names:
        ways.insert(0, (f"{names[0]}=user", f"{names[1]}=assistant"))
    for way in ways:
        changes = {"dataset.role_names": [*spec.dataset.role_names, *way]}
        yield Fix(say("Read names as roles: {names}", names=", ".join(way)), changes)


def _incomplete_rows(found: RowCounts, spec: RunSpec) -> Iterator[DataProblem]:
    """A problem for each part that texts lack of their rows."""
    for part in COUNTED:
        if (issue := found.lacking.get(part)) is None:
            continue
        message = say(COUNTED[part], count=issue.count, row=issue.row)
        if part in STOPS and spec.dataset.missing_parts != "accept":
            drop = (LEAVE_OUT,) if issue.count < found.rows / 2 else ()
            fixes = (*issue.fixes, *drop, ACCEPT)
            yield _problem(f"row_lacks_{part}", "stop", issue, message, fixes, "dataset.missing_parts")
        else:
            yield _problem(f"row_lacks_{part}", "warning", issue, message, issue.fixes)


def _longer_context(found: RowCounts, spec: RunSpec) -> tuple[Fix, ...]:
    """Fixes that raise the context length: to fit 99 % of the rows, and all of them."""
    wanted = dict.fromkeys(
        length for share in SHARES if (length := context_length_for(found, share)) > spec.model.max_seq_length
    )
    return tuple(Fix(say("Set the context length to {length}", length=n), {LENGTH: n}) for n in wanted)


def _unlearned(found: RowCounts, spec: RunSpec, train_on_all: bool) -> list[DataProblem]:
    measured = sum(found.lengths.values())
    if not measured or not found.unlearned.count:
        return []
    cut_off = sum(rows for at, rows in found.answers_at.items() if at >= spec.model.max_seq_length)
    if found.unlearned.count < measured:
        message = say("Rows with nothing to learn: {count}. They only cost time.", count=found.unlearned.count)
        if cut_off and found.answers.compared:
            message = say("Prompts that fill the context before an answer: {count}. Such rows teach nothing.",
                          count=found.unlearned.count)  # fmt: skip
        fixes = _longer_context(found, spec) if cut_off else ()
        return [_problem("rows_unlearned", "warning", found.unlearned, message, fixes)]
    if cut_off:
        message = say("Nothing would be learned: the context length of {length} cuts every answer off.",
                    length=spec.model.max_seq_length)  # fmt: skip
        return [_problem("nothing_learned", "stop", found.unlearned, message, _longer_context(found, spec), LENGTH)]
    message = say("Nothing would be learned: the response marker is in none of the texts.")
    fixes = () if train_on_all else (LEARN_ALL,)
    if spec.dataset.response_part:
        find = {"dataset.instruction_part": "", "dataset.response_part": ""}
        fixes = (Fix(say("Find the markers from the template"), find), *fixes)
    return [_problem("nothing_learned", "stop", found.unlearned, message, fixes, "dataset.response_part")]


def _cut(found: RowCounts, spec: RunSpec) -> list[DataProblem]:
    measured = sum(found.lengths.values())
    if not found.cut.count or not measured:
        return []
    share = found.cut.count / measured
    message = say(
        ("Rows cut at {length} tokens: {count} of {rows} ({share}). The cut part and the end token "
        "are not learned."),
        length=spec.model.max_seq_length, count=found.cut.count, rows=measured, share=f"{share:.0%}",
    )  # fmt: skip
    fixes = _longer_context(found, spec)
    if share <= spec.dataset.max_cut_share:
        return [_problem("rows_cut", "warning", found.cut, message, fixes, LENGTH)]
    accept = Fix(say("Train anyway"), {"dataset.max_cut_share": 1.0})
    return [_problem("rows_cut", "stop", found.cut, message, (*fixes, accept), LENGTH)]


def _endless(found: RowCounts, spec: RunSpec, eos: str) -> list[DataProblem]:
    measured = sum(found.lengths.values())
    if not found.endless.count:
        return []
    message = say("Rows that do not teach the model to stop, with {eos} learned at the end: {count} of {rows}.",
                eos=eos, count=found.endless.count, rows=measured)  # fmt: skip
    if found.endless.count <= measured // 2:
        return [_problem("rows_without_end", "warning", found.endless, message, ())]
    return [_problem("eos_missing", "stop", found.endless, message, template_fixes(spec), "dataset.chat_template")]


def template_fixes(spec: RunSpec) -> tuple[Fix, ...]:
    """Fixes that replace a chat template that is missing or does not end its answers."""
    names = [name for name in ("chatml", "zephyr") if name != spec.dataset.chat_template]
    return tuple(
        Fix(say("Use the chat template {name}", name=name), {"dataset.chat_template": name}) for name in names
    )


def as_problem(failure: UserError, spec: RunSpec) -> DataProblem:
    """An error of the engine as a stop, with its fixes."""
    fixes: tuple[Fix, ...] = ()
    if failure.field == "dataset.chat_template":
        fixes = template_fixes(spec)
    elif failure.code == "markers_missing":
        fixes = (*template_fixes(spec), LEARN_ALL) if spec.dataset.chat_template != "auto" else (LEARN_ALL,)
    elif failure.field == "dataset.path":
        fixes = _encoding_fixes(failure.message.values)
    return DataProblem(code=failure.code, level="stop", message=failure.message, field=failure.field, fixes=fixes)


def _encoding_fixes(values: Mapping[str, Any]) -> tuple[Fix, ...]:
    """The fix for text in another encoding. `values`: of the message, with the guess."""
    if not (encoding := values.get("encoding")):
        return ()
    return (Fix(say("Read it as {encoding}", encoding=str(encoding)), {"dataset.encoding": encoding}),)


def mixed_formats(clash: FieldError) -> DataProblem:
    """Sources whose formats cannot be trained together."""
    if clash.field == "dataset.written_with":
        fix = Fix(say("Write the pairs as chats as well"), {clash.field: "chat_template"})
    else:
        fix = Fix(say("Train on the first source alone"), {"dataset.mix": []})
    return DataProblem(code="mixed_formats", level="stop", message=clash.message, field=clash.field, fixes=(fix,))


def unknown_format(found: Detected) -> DataProblem:
    """Rows that cannot be used as they are, with other ways to read them as fixes."""
    problem = found.problem or FieldError("dataset.format", found.why)
    fixes = tuple(
        Fix(one.label, {f"dataset.{key}": value for key, value in one.settings.items()})
        for one in found.alternatives
    )
    return DataProblem(
        code="format_unknown", level="stop", message=problem.message, field=problem.field, fixes=fixes
    )


def guessed_format(found: Detected) -> DataProblem | None:
    """A warning that the format is a guess, with other ways to read the rows."""
    if found.problem or found.confidence > GUESS:
        return None
    return msgspec.structs.replace(
        unknown_format(found), code="format_guessed", level="warning",
        message=say("The format is a guess, {share} sure. {why} If that is wrong, name the columns.",
                    share=f"{found.confidence:.0%}", why=str(found.why)),
    )  # fmt: skip


def no_readable_row(rows: Sequence[tuple[int, Row | BadRow]], field: str) -> DataProblem:
    """None of the first rows can be read, so leaving out bad rows is no fix."""
    number, bad = next((number, row) for number, row in rows if isinstance(row, BadRow))
    return DataProblem(
        code="rows_bad", level="stop", message=bad.describe(number), field=field, row=number,
        value=str(bad.values.get("raw", "")), count=len(rows),
        fixes=_encoding_fixes(bad.values) if field == "dataset.path" else (),
    )  # fmt: skip
