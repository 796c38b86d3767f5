"""Checks what the trainer will learn: its own tokens and labels, after template, mask and truncation."""

from typing import Any

from engine.config.run_spec import RunSpec
from engine.messages.errors import UserError
from engine.messages.message import say
from engine.model.logits import MASKED
from engine.prompting.prompt_format import eos_missing
from engine.protocol import events as ev
from engine.runtime.event_writer import EventWriter
from engine.training.method import Prepared

SHOWN_CHARACTERS = 20_000  # of each text of the example: a terminal shows it


def nothing_learned(spec: RunSpec) -> UserError:
    """Every label is masked."""
    return UserError(
        "nothing_learned",
        say("Nothing would be learned: no answer is left in any example."),
        say(
            "Either the response marker is not in the texts, or the context length of {length} cuts them off.",
            length=spec.model.max_seq_length,
        ),
        "dataset.response_part",
    )


def too_many_cut(spec: RunSpec, cut: int, rows: int) -> UserError:
    """More rows exceed the context length than the spec allows."""
    return UserError(
        "rows_cut",
        say(
            "{cut} of {rows} rows are longer than {length} tokens: their ends would not be learned.",
            cut=cut, rows=rows, length=spec.model.max_seq_length,
        ),
        say(
            "Raise the context length, or allow more with max_cut_share (now {share}).",
            share=spec.dataset.max_cut_share,
        ),
        "model.max_seq_length",
    )  # fmt: skip


def check_labels(
    trainer: Any,
    prepared: Prepared,
    spec: RunSpec,
    stop_ids: list[int],
    record: EventWriter,
    pieces: bool = False,
) -> ev.DatasetReady:
    """Count and check the trainer's rows. Raises `UserError` if training on them cannot work.

    `pieces`: a row that fills the context may go on in the next one, so it is not cut.
    """
    tokenizer, rows, limit = trainer.processing_class, trainer.train_dataset, spec.model.max_seq_length
    columns = [name for name in ("input_ids", "labels") if name in rows.column_names]
    stops, tokens, learned, truncated, endless = set(stop_ids), 0, 0, 0, 0
    for batch in rows.select_columns(columns).iter(1000):
        for ids, labels in zip(batch["input_ids"], batch[columns[-1]], strict=True):
            kept = [label for label in labels if label != MASKED]
            tokens += len(ids)
            learned += len(kept)
            if ends_with_stop(kept, stops):
                continue
            if len(ids) >= limit:
                truncated += not pieces
            else:
                endless += 1
    if not learned:
        raise nothing_learned(spec)
    # The trainer has dropped the rows whose complete answer was cut off.
    cut = truncated + len(prepared.train) - len(rows)
    if not trainer.args.packing and cut > spec.dataset.max_cut_share * len(prepared.train):
        raise too_many_cut(spec, cut, len(prepared.train))
    # The collator decides last: one that pads with the stop token masks it.
    ids, labels = collated(trainer, rows[0])
    shown = [label for label in labels if label != MASKED]
    masked_late = len(ids) < limit and not ends_with_stop(shown, stops)
    if not trainer.args.packing and (masked_late or endless > len(rows) // 2):
        templated = prepared.method.prompt_format.format == "messages"
        raise eos_missing(tokenizer, "dataset.chat_template" if templated else "model.model_name")
    if endless and not trainer.args.packing:
        message = say("Examples without an end that the model could learn: {count}.", count=endless)
        record.emit(ev.Notice(code="rows_without_end", message=message, level="warning"))
    return ev.DatasetReady(
        rows=len(rows),
        eval_rows=len(trainer.eval_dataset) if trainer.eval_dataset is not None else 0,
        format=prepared.method.prompt_format.format,
        columns=prepared.columns,
        tokens=tokens,
        learned_tokens=learned,
        truncated_rows=truncated,
        instruction_part=prepared.method.instruction_part,
        response_part=prepared.method.response_part,
        example_raw=prepared.example_raw[:SHOWN_CHARACTERS],
        example_text=tokenizer.decode(ids)[:SHOWN_CHARACTERS],
        example_learned=tokenizer.decode(shown)[:SHOWN_CHARACTERS],
    )


def ends_with_stop(learned: list[int], stops: set[int]) -> bool:
    """Whether a row's learned tokens end with a stop token. Some templates write a newline after it."""
    return not stops.isdisjoint(learned[-3:])


def collated(trainer: Any, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """(tokens, labels) of a row as the trainer's collator passes them to the model."""
    names = ("input_ids", "attention_mask", "labels", "seq_lengths")
    batch = trainer.data_collator([{name: row[name] for name in names if name in row}])
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
