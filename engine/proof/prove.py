"""One proof: from a spec to its report, with the engine's functions for template, tokens and mask."""

import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

import msgspec

from engine.config.run_spec import RunSpec
from engine.config.sources import SpecSource, eval_source, training_sources
from engine.dataset.detected import Detected
from engine.dataset.detection import common_prompt_format, detect_source
from engine.dataset.limits import LOOK_BYTES
from engine.dataset.mapping import BadRow
from engine.dataset.peek import DETECTED_ROWS
from engine.dataset.row_sampling import count_sampled, is_sampled, sample_rows
from engine.messages.errors import UserError
from engine.proof.fix_trials import with_tried_fixes
from engine.proof.measure import RowCounter, RowCounts
from engine.proof.problems import (
    as_problem,
    guessed_format,
    kept_apart,
    mixed_formats,
    no_readable_row,
    problems_of,
    unknown_format,
)
from engine.proof.sample import Numbered, Sample
from engine.proof.tokenizers import TokenizerCache
from engine.protocol.data_report import AnswerSummary, DataProblem, DataReport, ProofProgress, TurnCounts
from engine.training.hold_out import HeldOut, hold_out
from engine.training.methods import method_for

BATCH_ROWS, BATCH_BYTES = 1000, 64 << 20

T = TypeVar("T", bound=tuple[Any, ...])
OnProgress = Callable[[ProofProgress], None]


class ProofCancelled(Exception):
    """Another request came in meanwhile."""


def prove(
    spec: RunSpec,
    tokenizers: TokenizerCache,
    on_progress: OnProgress,
    cancelled: Callable[[], bool],
    max_rows: int | None,
    *,
    try_fixes: bool = True,
) -> DataReport:
    """Measure the spec's data. `max_rows`: read at most this many rows of each source, None for all.

    `try_fixes`: offer only fixes that work for the first rows. Raises `UserError` if nothing can be measured, and
    `ProofCancelled`.
    """
    started, data = time.monotonic(), spec.dataset

    def trial(changed: RunSpec) -> DataReport:
        return prove(changed, tokenizers, lambda progress: None, cancelled, DETECTED_ROWS, try_fixes=False)

    on_progress(ProofProgress(stage="tokenizer"))
    tokenizer, stop_ids = tokenizers.get(spec.model)
    places = training_sources(data)
    weights = [place.source.weight for place in places]
    samples = [Sample(place, max_rows) for place in places]
    on_progress(ProofProgress(stage="reading"))
    stops: list[DataProblem] = []
    opened = [_open_source(sample, spec, stops) for sample in samples]
    first = opened[0][0]
    eval_data = eval_source(data)  # its texts are only compared with those trained on
    held = [_open_source(Sample(eval_data, max_rows), spec, stops)] if eval_data else []
    counter, markers, eos = None, ("", ""), str(tokenizer.eos_token or "")
    if not stops:
        kind, clash = common_prompt_format([found.kind for found, _ in (*opened, *held)], data)
        if clash:
            stops.append(mixed_formats(clash))
            for _, rows in opened:  # they are counted, to judge a fix that leaves sources out
                deque(rows, maxlen=0)
    if not stops:
        if data.chat_template != "auto":
            tokenizers.clear()
        try:
            method = method_for(spec, kind, tokenizer, stop_ids, first.kind)
        except UserError as failure:
            stops.append(as_problem(failure, spec))
        else:
            eos = str(method.tokenizer.eos_token or "")
            markers = (method.instruction_part, method.response_part)
            counter = RowCounter(method, {*stop_ids, method.tokenizer.eos_token_id})
            times = _times_drawn(spec, places, weights, max_rows)
            for (found, rows), sample, taken in zip(opened, samples, times, strict=True):
                _count_source(counter, found, rows, on_progress, cancelled, sample, taken)
            for found, rows in held:
                counter.count_overlap(rows, found.mapping)
    stops += [guessed for found, _ in opened if (guessed := guessed_format(found))]
    counted = counter.close() if counter else None
    problems = problems_of(counted, spec, train_on_all=not data.train_on_responses_only, eos=eos) if counted else ()
    apart = _hold_out(counted, spec, stops) if counted else None
    problems += kept_apart(apart) if apart else ()
    report = DataReport(
        path=data.path,
        rows_total=sum(sample.total for sample in samples),
        exact=all(sample.exact for sample in samples),
        sampled=any(sample.sampled for sample in samples),
        rows=counted.rows if counted else 0,
        taken=count_sampled(data, [sample.total for sample in samples], weights)
        if is_sampled(data, weights)
        else None,
        format=first.kind,
        variant=first.variant,
        why=first.why,
        confidence=first.confidence,
        max_seq_length=spec.model.max_seq_length,
        batch_size=spec.training.per_device_train_batch_size,
        empty_rows=counted.empty.count if counted else 0,
        duplicate_rows=counted.duplicate.count if counted else 0,
        bad_rows=counted.bad.count if counted else 0,
        unlearned_rows=counted.unlearned.count if counted else 0,
        endless_rows=counted.endless.count if counted else 0,
        marked_rows=counted.marked.count if counted else 0,
        lacking=counted.lacking_rows if counted else (),
        unused=counted.usage.unused if counted else (),
        turns=counted.usage.turns if counted else TurnCounts(),
        answers=counted.answer_summary if counted else AnswerSummary(),
        tied_rows=counted.tied.count if counted else 0,
        learns_answers=method.learns_answers if counter else True,
        held_out_rows=len(apart.held_out) if apart else 0,
        kept_apart_rows=apart.kept_apart if apart else 0,
        tokens=counted.tokens if counted else 0,
        learned_tokens=counted.learned if counted else 0,
        divided=method.divides if counter else False,
        lengths=tuple(sorted(counted.lengths.items())) if counted else (),
        answers_at=tuple(sorted(counted.answers_at.items())) if counted else (),
        eos_token=eos,
        instruction_part=markers[0],
        response_part=markers[1],
        examples=tuple(counted.examples) if counted else (),
        problems=tuple(sorted((*stops, *problems), key=lambda problem: problem.level != "stop")),
        seconds=time.monotonic() - started,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    return with_tried_fixes(report, spec, trial) if try_fixes else report


def batches(rows: Iterator[T], count: int, size: int) -> Iterator[list[T]]:
    """Lists of so many rows, or of about so many bytes. The rest stays in `rows` when no more lists are taken."""
    batch: list[T] = []
    taken = 0
    for one in rows:
        batch.append(one)
        taken += len(msgspec.json.encode(one[1], enc_hook=str))
        if len(batch) == count or taken > size:
            yield batch
            batch, taken = [], 0
    if batch:
        yield batch


def _hold_out(counted: RowCounts, spec: RunSpec, stops: list[DataProblem]) -> HeldOut | None:
    """The rows that training holds out. A problem that prevents it is added to `stops`."""
    if not counted.keys or not spec.dataset.test_size:
        return None
    try:
        return hold_out(counted.keys, counted.drawn, spec.dataset.test_size, spec.training.seed)
    except UserError as failure:
        stops.append(as_problem(failure, spec))
        return None


def _times_drawn(
    spec: RunSpec, places: list[SpecSource], weights: list[float], max_rows: int | None
) -> list[Counter[int] | None]:
    """For each source, how many times the row at each index is used; None if each row is used once.

    The rows that training draws are known only if all rows are read. In a sample, any rows will do.
    """
    data, counts = spec.dataset, []
    if not is_sampled(data, weights):
        return [None] * len(places)
    for sample in (Sample(place, max_rows) for place in places):
        if not sample.local:
            return [None] * len(places)
        counts.append(sum(1 for _ in sample))
        if sample.sampled or not sample.exact:
            return [None] * len(places)
    return [Counter(taken) for taken in sample_rows(data, counts, weights)]


def _open_source(sample: Sample, spec: RunSpec, stops: list[DataProblem]) -> tuple[Detected, Iterator[Numbered]]:
    """(the detected format of a source, its rows). A problem that prevents training is added to `stops`."""
    rows = iter(sample)
    try:
        first = next(batches(rows, DETECTED_ROWS, LOOK_BYTES), [])
    except UserError as failure:
        if failure.code != "dataset_encoding":
            raise
        stops.append(as_problem(failure, spec))
        return detect_source([], spec.dataset, sample.place, spec.training.method), rows
    good = [row for _, row in first if not isinstance(row, BadRow)]
    found = detect_source(good, spec.dataset, sample.place, spec.training.method)
    if first and not good:
        stops.append(no_readable_row(first, sample.field))
    elif found.problem:
        stops.append(unknown_format(found))
    return found, chain(first, rows)


def _count_source(
    counter: RowCounter,
    found: Detected,
    rows: Iterator[Numbered],
    on_progress: OnProgress,
    cancelled: Callable[[], bool],
    sample: Sample,
    times: Counter[int] | None,
) -> None:
    wanted = (
        (number, row, 1 if times is None else times[index])
        for index, (number, row) in enumerate(rows)
        if times is None or times[index]
    )
    for batch in batches(wanted, BATCH_ROWS, BATCH_BYTES):
        if cancelled():
            raise ProofCancelled
        counter.add(batch, found.mapping)
        on_progress(ProofProgress(stage="measuring", done=counter.found.rows, total=sample.total))
