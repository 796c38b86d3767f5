"""The report of a dataset's proof in sentences, for the screen and for `loris data`."""

from engine.protocol.data_report import AtLength, DataReport, ProofProgress, TurnCounts, at_length
from tui.text.amounts import count, size
from tui.text.translation import N_, _, render

BARS, BAR_WIDTH = 12, 30
STAGES = {
    "importing": N_("Starting: importing Unsloth takes 10 to 30 seconds"),
    "tokenizer": N_("Loading the tokenizer"),
    "reading": N_("Reading the data"),
    "measuring": N_("Measuring"),
}
# What a text can lack of its row, in how many rows: see `engine.training.row_check`.
PARTS = {
    "empty_answer": N_("empty answers ({rows})"),
    "tool_call": N_("tool calls ({rows})"),
    "tool_result": N_("tool results ({rows})"),
    "turn": N_("turns ({rows})"),
    "system": N_("system texts ({rows})"),
    "thought": N_("thoughts ({rows})"),
    "tools": N_("lists of tools ({rows})"),
    "history": N_("earlier turns ({rows})"),
    "column": N_("columns ({rows})"),
    "unanswered": N_("turns after the last answer ({rows})"),
    "characters": N_("characters that the tokenizer lacks ({rows})"),
    "json_answer": N_("answers that are no text ({rows})"),
}


def describe_proof_progress(progress: ProofProgress) -> str:
    """The current stage and its progress."""
    words = _(STAGES[progress.stage])
    if progress.total:
        share = min(1.0, progress.done / progress.total)
        return f"{words} {count(progress.done)}/{count(progress.total)} ({share:.0%})"
    return f"{words} {count(progress.done)}" if progress.done else words


def describe_rows(report: DataReport) -> str:
    """How many rows there are, how many were read, and how many are trained on."""
    words = _rows_there(report)
    if report.taken is not None:
        words += _("; weights and sample make it {rows} to train on").format(rows=count(report.taken))
    return words


def _rows_there(report: DataReport) -> str:
    if report.sampled:
        words = (
            _("{total} rows, {rows} of them read") if report.exact else _("about {total} rows, {rows} of them read")
        )
        return words.format(total=count(report.rows_total), rows=count(report.rows))
    return _("{rows} rows").format(rows=count(report.rows_total))


def describe_format(report: DataReport) -> str:
    return _("Format: {format}, {sure:.0%} sure. {why}").format(
        format=report.variant, sure=report.confidence, why=render(report.why)
    )


def facts(report: DataReport) -> list[str]:
    """The measurements, one per line."""
    lines = [f"{report.path}: {describe_rows(report)}", describe_format(report)]
    lines += filter(None, [describe_lacking(report)])
    return [*lines, *numbers(report, at_length(report, report.max_seq_length))]


def numbers(report: DataReport, now: AtLength) -> list[str]:
    """The counts, one per line, at a context length."""
    share = report.learned_tokens / report.tokens if report.tokens else 0.0
    tokens = _("Tokens: {tokens}; {share:.0%} of them learned.").format(tokens=count(report.tokens), share=share)
    if not report.learns_answers:
        tokens = _("Tokens of the prompts: {tokens}. The model writes the answers itself.").format(
            tokens=count(report.tokens)
        )
    lines = [
        tokens,
        *_answers(report),
        *length_lines(now, report.learns_answers),
        _("Rows: {empty} empty, {duplicates} duplicate, {bad} bad, {unlearned} with nothing to learn.").format(
            empty=report.empty_rows, duplicates=report.duplicate_rows, bad=report.bad_rows,
            unlearned=report.unlearned_rows,
        ),
    ]  # fmt: skip
    if report.turns != TurnCounts():
        lines.append(
            _("Turns: {learned} learned, {masked} masked, {dropped} in no text.").format(
                learned=count(report.turns.learned), masked=count(report.turns.masked),
                dropped=count(report.turns.dropped),
            )
        )  # fmt: skip
    lines += _unused(report)
    if report.held_out_rows:
        lines.append(
            _("Held out for evaluation: {held} rows; kept apart, as they are equal to those: {apart}.").format(
                held=count(report.held_out_rows), apart=count(report.kept_apart_rows)
            )
        )
    if report.response_part:
        lines.append(
            _("Markers: question {question!r}, answer {answer!r}.").format(
                question=report.instruction_part, answer=report.response_part
            )
        )
    lines.append(
        _("Measured in {seconds:.1f} s, peak memory {memory}.").format(
            seconds=report.seconds, memory=size(report.peak_bytes)
        )
    )
    return lines


def _answers(report: DataReport) -> list[str]:
    """What is compared in pairs and votes."""
    found, lines = report.answers, []
    if found.pairs:
        words = _("Pairs: {pairs}; {equal} of equal answers. Chosen is the longer one in {longer:.0%}.")
        lines.append(
            words.format(pairs=count(found.pairs), equal=found.equal, longer=found.chosen_longer / found.pairs)
        )
        words = _("Mean tokens learned: {chosen:.0f} of a chosen answer, {rejected:.0f} of a rejected one.")
        lines.append(words.format(chosen=found.chosen_tokens, rejected=found.rejected_tokens))
    if report.tied_rows:
        lines.append(_("Left out, because no answer is better: {rows} rows.").format(rows=count(report.tied_rows)))
    if found.good or found.bad:
        words = _("Votes: {good} good, {bad} bad ({share:.0%} good).")
        share = found.good / (found.good + found.bad)
        lines.append(words.format(good=count(found.good), bad=count(found.bad), share=share))
    return lines


def describe_lacking(report: DataReport) -> str:
    """Whether everything in the rows is in their texts, or what is not; "" if no text was made."""
    if not report.tokens:
        return ""
    if not report.lacking:
        return _("Everything in the columns that are used is in the text.")
    parts = [
        _(PARTS[one.part]).format(rows=count(one.rows)) if one.part in PARTS else f"{one.part}: {count(one.rows)}"
        for one in report.lacking
    ]
    return _("Not in the text as it is in the rows: {parts}.").format(parts=_(", ").join(parts))


def _unused(report: DataReport) -> list[str]:
    """What the rows have and training does not use, and what to do."""
    found = {kind: ", ".join(one.name for one in report.unused if one.kind == kind) for kind in ("column", "key")}
    lines = []
    if found["column"]:
        words = _("Columns not used: {names}. To use one, name it in a role, as in {example}.")
        lines.append(words.format(names=found["column"], example="instruction_column: {title}\\n{body}"))
    if found["key"]:
        words = _("Keys of turns not used: {names}. To use one, write its text into the turn's content.")
        lines.append(words.format(names=found["key"]))
    return lines


def length_lines(now: AtLength, learns_answers: bool = True) -> list[str]:
    """The effect of a context length. `learns_answers`: False if the model writes the answers."""
    if not learns_answers:
        return []
    return [
        _("At {length} tokens: {cut} rows are cut, {lost} lose their whole answer.").format(
            length=now.length, cut=now.rows_cut, lost=now.answers_lost
        ),
        _("Padding is {padding:.0%} of the computing; packing would leave {packed:.0%} of it.").format(
            padding=now.padding_share, packed=now.packed_share
        ),
    ]


def bars(report: DataReport, number: int = BARS, width: int = BAR_WIDTH) -> list[tuple[int, int, int, str]]:
    """(from, to, rows, bar) of a histogram of lengths."""
    if not report.lengths:
        return []
    longest = report.lengths[-1][0]
    step = max(1, -(-(longest + 1) // number))
    counts = [0] * (longest // step + 1)
    for tokens, rows in report.lengths:
        counts[tokens // step] += rows
    most = max(counts)
    return [(n * step, (n + 1) * step - 1, rows, "#" * -(-rows * width // most)) for n, rows in enumerate(counts)]
