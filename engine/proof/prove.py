"""One proof: from a spec to its report, with the engine's own functions for template, tokens and mask."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice

from engine.config.run_spec import RunSpec
from engine.config.sources import SpecSource, eval_source, training_sources
from engine.dataset.detection import Detected, common_prompt_format, detect
from engine.dataset.mapping import BadRow
from engine.dataset.peek import DETECTED_ROWS
from engine.dataset.row_sampling import count_sampled, is_sampled, sample_rows
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.proof.measure import Measure
from engine.proof.problems import as_problem, clashing, problems_of, unreadable
from engine.proof.sample import Numbered, Sample
from engine.proof.tokenizers import Tokenizers
from engine.protocol.data_report import DataProblem, DataReport, Fix, ProofProgress
from engine.training.methods import method_for

BATCH_ROWS = 1000

Tell = Callable[[ProofProgress], None]


class ProofCancelled(Exception):
    """Somebody asked for something else meanwhile."""


def prove(
    spec: RunSpec, tokenizers: Tokenizers, tell: Tell, cancelled: Callable[[], bool], most: int | None
) -> DataReport:
    """Measure the spec's data. `most`: rows to read of each source at most, None for all.

    Raises `UserError` where nothing can be measured at all, and `Cancelled`.
    """
    started, data = time.monotonic(), spec.dataset
    tell(ProofProgress(stage="tokenizer"))
    tokenizer, stop_ids = tokenizers.get(spec.model)
    places = training_sources(data)
    weights = [place.source.weight for place in places]
    samples = [Sample(place, most) for place in places]
    tell(ProofProgress(stage="reading"))
    refused: list[DataProblem] = []
    opened = [_open(sample, spec, refused) for sample in samples]
    head = opened[0][0]
    to_evaluate = eval_source(data)  # only looked at
    held = [_open(Sample(to_evaluate, DETECTED_ROWS), spec, refused)[0]] if to_evaluate else []
    measure, parts, eos = None, ("", ""), str(tokenizer.eos_token or "")
    if not refused:
        kind, clash = common_prompt_format([found.kind for found in (*(found for found, _ in opened), *held)], data)
        if clash:
            refused.append(clashing(clash))
    if not refused:
        if data.chat_template != "auto":
            tokenizers.forget()
        try:
            method = method_for(spec, kind, tokenizer, stop_ids)
        except UserError as failure:
            refused.append(as_problem(failure, spec))
        else:
            eos = str(method.tokenizer.eos_token or "")
            parts = (method.instruction_part, method.response_part)
            measure = Measure(method, {*stop_ids, method.tokenizer.eos_token_id})
            times = _times(spec, places, weights, most)
            for (found, rows), sample, taken in zip(opened, samples, times, strict=True):
                _measure(measure, found, rows, tell, cancelled, sample, taken)
    counted = measure.close() if measure else None
    problems = problems_of(counted, spec, train_on_all=not data.train_on_responses_only, eos=eos) if counted else ()
    return DataReport(
        path=data.path,
        rows_total=sum(sample.total for sample in samples),
        exact=all(sample.exact for sample in samples),
        sampled=any(sample.sampled for sample in samples),
        rows=counted.rows if counted else 0,
        taken=count_sampled(data, [sample.total for sample in samples], weights)
        if is_sampled(data, weights)
        else None,
        format=head.kind,
        variant=head.variant,
        why=head.why,
        confidence=head.confidence,
        max_seq_length=spec.model.max_seq_length,
        batch_size=spec.training.per_device_train_batch_size,
        empty_rows=counted.empty.count if counted else 0,
        duplicate_rows=counted.duplicate.count if counted else 0,
        bad_rows=counted.bad.count if counted else 0,
        unlearned_rows=counted.unlearned.count if counted else 0,
        endless_rows=counted.endless.count if counted else 0,
        marked_rows=counted.marked.count if counted else 0,
        tokens=counted.tokens if counted else 0,
        learned_tokens=counted.learned if counted else 0,
        lengths=tuple(sorted(counted.lengths.items())) if counted else (),
        answers_at=tuple(sorted(counted.answers_at.items())) if counted else (),
        eos_token=eos,
        instruction_part=parts[0],
        response_part=parts[1],
        examples=tuple(counted.examples) if counted else (),
        problems=(*refused, *problems),
        seconds=time.monotonic() - started,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _times(
    spec: RunSpec, places: list[SpecSource], weights: list[float], most: int | None
) -> list[Counter[int] | None]:
    """For each source how many times the row at each place is taken; None for each of them once.

    The very rows that training takes are known only where all rows are. Of a part the rows are as good as others.
    """
    data, counts = spec.dataset, []
    if not is_sampled(data, weights):
        return [None] * len(places)
    for sample in (Sample(place, most) for place in places):
        if not sample.local:
            return [None] * len(places)
        counts.append(sum(1 for _ in sample))
        if sample.sampled or not sample.exact:
            return [None] * len(places)
    return [Counter(taken) for taken in sample_rows(data, counts, weights)]


def _open(sample: Sample, spec: RunSpec, refused: list[DataProblem]) -> tuple[Detected, Iterator[Numbered]]:
    """(what the rows of a source are, all of them). What keeps them from being learned goes to `refused`."""
    rows = iter(sample)
    first = list(islice(rows, DETECTED_ROWS))
    good = [row for _, row in first if not isinstance(row, BadRow)]
    found = detect(good, spec.dataset, spec.training.method)
    if first and not good:
        refused.append(unreadable(first, sample.field))
    elif found.problem:
        refused.append(_refused(found))
    return found, chain(first, rows)


def _measure(
    measure: Measure,
    found: Detected,
    rows: Iterator[Numbered],
    tell: Tell,
    cancelled: Callable[[], bool],
    sample: Sample,
    times: Counter[int] | None,
) -> None:
    wanted = (
        (number, row, 1 if times is None else times[place])
        for place, (number, row) in enumerate(rows)
        if times is None or times[place]
    )
    while batch := list(islice(wanted, BATCH_ROWS)):
        if cancelled():
            raise ProofCancelled
        measure.add(batch, found.mapping)
        tell(ProofProgress(stage="measuring", done=measure.found.rows, total=sample.total))


def _refused(found: Detected) -> DataProblem:
    """Rows that are of no use as they are, with the other ways to take them as fixes."""
    problem = found.problem
    assert problem is not None
    fixes = tuple(
        Fix(one.label, {f"dataset.{key}": value for key, value in one.settings.items()})
        for one in found.alternatives
    )
    return DataProblem(
        code="format_unknown", level="stop", message=problem.message or say("The format is not known."),
        field=problem.field, fixes=fixes,
    )  # fmt: skip
