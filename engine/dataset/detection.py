"""Detects the format of rows, and why: the first rule that fits most rows wins, the most certain rule first."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from engine.config.fields import FieldError
from engine.config.methods import METHODS
from engine.config.role_names import role_names
from engine.config.run_spec import DatasetSpec
from engine.config.sources import READING, SpecSource
from engine.dataset.answer_detection import (
    detected_pairs,
    detected_prompts,
    detected_votes,
    find_pairs,
    find_prompts,
    find_votes,
    named_pair,
    prompts,
    votes,
)
from engine.dataset.column_names import (
    ANSWERS,
    CHAT_NAMES,
    CONTEXTS,
    MESSAGE_COLUMNS,
    PAIRS,
    QUESTIONS,
    SYSTEM_NAMES,
    TEXT_NAMES,
)
from engine.dataset.columns import Columns, is_enough
from engine.dataset.detected import GUESS, Alternative, Detected
from engine.dataset.mapping import Kind, Mapping, Row, columns_in, is_template
from engine.dataset.missing_columns import missing_column
from engine.dataset.turn_shapes import HISTORY_NAMES, TOOL_NAMES, has_texts_as_turns
from engine.dataset.turns import parse_json
from engine.messages.message import N_, Message, say

HISTORY = " with history"  # of a variant: pairs with earlier turns
KNOWN_PAIRS = {
    ("instruction", "output"), ("prompt", "completion"), ("question", "answer"), ("prompt", "response"),
    ("instruction", "response"), ("query", "response"), ("input", "output"), ("问题", "回答"),
}  # fmt: skip


PromptFormatName = Literal["alpaca", "messages", "plain"]


def detect(rows: Sequence[Row], data: DatasetSpec, method: str = "sft") -> Detected:
    """Detect the format of the first rows of a dataset. The settings in `data` win over any guess.

    `method`: the training method; a format that it does not support is reported as a problem.
    """
    columns = Columns(rows)
    kinds = METHODS[method].kinds
    found = _from_settings(columns, data, kinds) or _guess(columns, data, kinds)
    problem = found.problem or missing_column(found.mapping, columns, data) or _unsupported(found, method)
    return msgspec.structs.replace(found, problem=problem)


def detect_source(rows: Sequence[Row], data: DatasetSpec, place: SpecSource, method: str = "sft") -> Detected:
    """Detect the format of the first rows of one source. A line of the mix can name its own columns."""
    return detect(rows, _settings_of(data, place, rows), method)


def _settings_of(data: DatasetSpec, place: SpecSource, rows: Sequence[Row]) -> DatasetSpec:
    """The settings for the rows of a source: its own, then those of the dataset whose columns it has."""
    if place.field in ("dataset.path", "dataset.eval_split"):
        return data
    own, known, usual = dict(place.source.reading), {key for row in rows for key in row}, DatasetSpec()
    settings = {"format": "auto"} if own else {}
    for key in (name for name in READING if name.endswith("_column") and name not in own):
        filler = str(getattr(data, key))
        parts = filler.split("+") if key == "messages_column" else [filler]
        needed = [name.strip() for part in parts if not part.startswith("=") for name in columns_in(part)]
        if filler != "auto" and not known.issuperset(needed):
            settings[key] = getattr(usual, key)
    return msgspec.structs.replace(data, **settings, **own)


# What data of a kind is, and what to do where the method learns from another kind.
OTHER_DATA: dict[str, str] = {
    "alpaca": N_("This is question/answer data. {instead}"),
    "messages": N_("These are chats. {instead}"),
    "text": N_("This is plain text. {instead}"),
    "preference": N_("This is preference data: chosen and rejected answers. {instead}"),
    "votes": N_("These are votes on single answers. {instead}"),
    "prompts": N_("These are prompts without answers. {instead}"),
}


def _unsupported(found: Detected, method: str) -> FieldError | None:
    """Why the training method does not support these rows, or None."""
    wanted = METHODS[method].kinds
    if found.kind in wanted or found.kind == "unknown":
        return None
    fitting = ", ".join(name for name, one in METHODS.items() if found.kind in one.kinds)
    if found.kind == "preference" and "prompts" in wanted:
        instead = say("Use a method that compares answers ({methods}), or set format: prompts to use only the "
                      "prompts.", methods=fitting)  # fmt: skip
    elif found.kind == "preference" and "alpaca" in wanted and found.alternatives:
        settings = ", ".join(f"{key}: {value}" for key, value in found.alternatives[0].settings.items())
        instead = say("Use a method that compares answers ({methods}), or set {settings} to learn the chosen ones "
                      "alone.", methods=fitting, settings=settings)  # fmt: skip
    elif "votes" in wanted and found.kind in ("alpaca", "messages"):
        instead = say("Use {methods}, or add a column of votes (true or false), or rejected answers.",
                      methods=fitting)  # fmt: skip
    elif "preference" in wanted and found.kind in ("alpaca", "messages"):
        instead = say("Use {methods}, or add rejected answers.", methods=fitting)
    else:
        instead = say("Use {methods}: {method} learns from {kinds}.",
                      methods=fitting, method=method, kinds=", ".join(wanted))  # fmt: skip
    return FieldError("dataset.format", say(OTHER_DATA[found.kind], instead=str(instead)))


def _is_set(data: DatasetSpec, key: str) -> bool:
    """Whether the user chose what fills a role of a pair: the default name means automatic."""
    return bool(getattr(data, f"{key}_column") != key)


def _from_settings(columns: Columns, data: DatasetSpec, kinds: Sequence[str]) -> Detected | None:
    """The format that the settings choose, or None. `kinds`: those that the training method accepts."""
    why = say("Set by the dataset settings.")
    if data.format == "messages":
        return _chat(columns, data, why, 1.0)
    if data.format == "text":
        return _plain_text(columns, data, why, 1.0)
    if data.format == "preference" or "auto" not in (data.chosen_column, data.rejected_column):
        named = (data.chosen_column, data.rejected_column) != ("auto", "auto")
        return detected_pairs((not named and find_pairs(columns, data)) or named_pair(columns, data), columns)
    if data.format == "votes" or data.label_column != "auto":
        return detected_votes(votes(columns, data), columns)
    if data.format == "prompts":
        return detected_prompts(prompts(columns, data))
    if data.format == "auto" and "text" not in kinds:
        return None  # the columns that are set are of pairs, votes or prompts
    if data.format == "alpaca" or _is_set(data, "output"):
        return _pair(columns, data, why)
    if data.messages_column != "auto":
        return _chat(columns, data, why, 1.0)
    if data.text_column != "auto":
        return _plain_text(columns, data, why, 1.0)
    if _is_set(data, "instruction") and data.instruction_column:
        return _pair(columns, data, why)
    return None


def _guess(columns: Columns, data: DatasetSpec, kinds: Sequence[str]) -> Detected:
    """The format by the names and values of the columns: the most certain one that fits enough of the rows.

    `kinds`: those that the training method accepts.
    """
    found = [(one, _rows_fitting(one.mapping, columns)) for one in _candidates(columns, data, kinds)]
    most = max(count for _, count in found)
    best = next(one for one, count in found if is_enough(count, most))
    if best.kind not in kinds and "preference" in kinds and any(map(columns.present, PAIRS)):
        return detected_pairs(named_pair(columns, data), columns)  # one side is empty, which is the thing to say
    return best


def _rows_fitting(mapping: Mapping, columns: Columns) -> int:
    """How many rows have the columns that this mapping needs."""
    needed = [name for one in mapping.fillers for name in columns_in(one)]
    return 0 if mapping.kind == "unknown" else columns.count(*needed)


def _candidates(columns: Columns, data: DatasetSpec, kinds: Sequence[str]) -> Iterator[Detected]:
    """The formats that fit, the most certain one first."""
    compares = "preference" in kinds
    # Other names may mean anything where answers are not compared.
    if pairs := find_pairs(columns, data) if compares else columns.together(PAIRS[0]) and named_pair(columns, data):
        yield detected_pairs(pairs, columns)
    if ("votes" in kinds or compares) and (found := find_votes(columns, data)):
        yield detected_votes(found, columns)
    if "prompts" in kinds and (asked := find_prompts(columns, data)):
        yield detected_prompts(asked)
    chat = columns.find(CHAT_NAMES)
    if chat and "output" not in columns and (chat in MESSAGE_COLUMNS or columns.has_turns(chat, texts=True)):
        has_turns = columns.has_turns(chat)
        why = (
            say('"{column}" contains lists of turns.', column=chat)
            if has_turns
            else say('The column name "{column}" is usual for chats.', column=chat)
        )
        yield _chat(columns, data, why, 1.0 if has_turns else 0.5)
    question, answer = _question_and_answer(columns, data)
    if columns.has_turns(question) and columns.has_turns(answer):
        why = say('"{question}" and "{answer}" contain turns.', question=question, answer=answer)
        mapping = Mapping(
            kind="messages",
            turns=(question, answer),
            system=_system(columns, data),
            tools=columns.find(TOOL_NAMES),
            roles=tuple(role_names(data.role_names).items()),
        )
        yield Detected(mapping=mapping, variant="prompt/completion turns", confidence=0.95, why=why)
    elif answer in columns and (question in columns or not question or is_template(question)):
        yield _pair(columns, data, None)
    if turns := next((name for name in columns.names if columns.has_turns(name)), ""):
        why = say('"{column}" contains lists of turns.', column=turns)
        yield _chat(columns, data, why, 0.9, turns)
    yield _text_or_guess(columns, data)


def _text_or_guess(columns: Columns, data: DatasetSpec) -> Detected:
    """A column of plain text, else a pair if there are exactly two text columns, else unknown."""
    texts = [name for name in columns.names if columns.is_text(name)]
    named = columns.find(TEXT_NAMES)
    if named in texts:
        why = say('"{column}" contains plain text, and no column contains answers.', column=named)
        return _plain_text(columns, data, why, 0.9, named)
    if len(texts) == 1 and len(columns.names) == 1:
        why = say('"{column}" is the only column and contains plain text.', column=texts[0])
        return _plain_text(columns, data, why, 0.6, texts[0])
    if len(texts) == 2 and columns.count(*texts):
        why = say(
            'A guess: "{question}" and "{answer}" are the two columns of text.',
            question=texts[0], answer=texts[1],
        )  # fmt: skip
        mapping = Mapping(kind="alpaca", instruction=texts[0], output=texts[1], system=_system(columns, data))
        other = Alternative(
            say("Swap question and answer"), {"instruction_column": texts[1], "output_column": texts[0]}
        )
        return Detected(mapping=mapping, variant="pair", confidence=0.4, why=why, alternatives=(other,))
    return Detected(
        mapping=Mapping(kind="unknown"),
        variant="unknown",
        confidence=0.0,
        why=_unknown_format(columns),
        alternatives=tuple(
            Alternative(say('Plain text in "{column}"', column=name), {"format": "text", "text_column": name})
            for name in texts[:3]
        ),
        problem=FieldError("dataset.format", _unknown_format(columns)),
    )


def _unknown_format(columns: Columns) -> Message:
    named = columns.find(TEXT_NAMES)
    values = columns.values(named) if named else []
    if values and not columns.is_text(named):
        return say(
            '"{column}" contains {type}, not text. Name the columns to learn from: {columns}.',
            column=named, type=next(type(v).__name__ for v in values if not isinstance(v, str)),
            columns=", ".join(columns.names),
        )  # fmt: skip
    return say(
        (
            "The format of these rows was not recognised. Name the column with the answers, or with the "
            "turns: {columns}."
        ),
        columns=", ".join(columns.names),
    )


def _system(columns: Columns, data: DatasetSpec) -> str:
    return columns.find(SYSTEM_NAMES) if data.system_column == "auto" else data.system_column


def _chat(columns: Columns, data: DatasetSpec, why: Message, confidence: float, name: str = "") -> Detected:
    if data.messages_column != "auto":
        names = tuple(part.strip() for part in data.messages_column.split("+"))
    else:
        found = name or columns.find(CHAT_NAMES)
        names = (found or next((c for c in columns.names if columns.has_turns(c)), MESSAGE_COLUMNS[0]),)
    mapping = Mapping(
        kind="messages", turns=names, system=_system(columns, data), tools=columns.find(TOOL_NAMES),
        roles=tuple(role_names(data.role_names).items()),
    )  # fmt: skip
    values = columns.values(names[0]) if names[0] in columns else []
    turns: list[Any] = next((found for v in values if isinstance(found := parse_json(v), list) and found), [{}])
    first = turns[0] if isinstance(turns[0], dict) else {}
    variant = "sharegpt" if "from" in first else "messages"
    if has_texts_as_turns(turns) and confidence < 1:
        variant, confidence = "texts in turn", min(confidence, GUESS)
        why = say('A guess: the texts in "{column}" are in turn a question and its answer.', column=names[0])
    return Detected(mapping=mapping, variant=variant, confidence=confidence, why=why)


def _plain_text(columns: Columns, data: DatasetSpec, why: Message, confidence: float, name: str = "") -> Detected:
    if data.text_column != "auto":
        name = data.text_column
    name = name or columns.find(TEXT_NAMES) or next((n for n in columns.names if columns.is_text(n)), "text")
    return Detected(mapping=Mapping(kind="text", text=name), variant="text", confidence=confidence, why=why)


def _question_and_answer(columns: Columns, data: DatasetSpec) -> tuple[str, str]:
    """What fills these roles: the user's choice, else columns with usual names in the same rows, else the default
    names."""
    questions, answers = [data.instruction_column], [data.output_column]
    if not _is_set(data, "instruction"):
        # The user may have chosen a column as the input.
        context = data.input_column if _is_set(data, "input") else ""
        questions = [name for name in columns.named(QUESTIONS) if name != context]
    if not _is_set(data, "output"):
        answers = columns.named(ANSWERS)
    if found := columns.find_pair(questions, answers, CONTEXTS):
        return found
    question = data.instruction_column if _is_set(data, "instruction") else columns.find(QUESTIONS)
    answer = data.output_column if _is_set(data, "output") else columns.find(ANSWERS)
    if question and answer and question in columns and answer in columns:
        return data.instruction_column, data.output_column  # they are in different rows
    return question or data.instruction_column, answer or data.output_column


def _context(columns: Columns, data: DatasetSpec, question: str, answer: str) -> str:
    """What fills the input: the user's choice, else a column with a usual name in the rows of the pair, else ""."""
    if _is_set(data, "input"):
        return data.input_column
    needed = [*columns_in(question), *columns_in(answer)]
    names = [name for name in columns.named(CONTEXTS) if name not in needed and columns.in_one_row(name, *needed)]
    return columns.find([name.strip().lower() for name in names])


def _pair(columns: Columns, data: DatasetSpec, forced: Message | None) -> Detected:
    """A question and an answer: the columns that the user named, else those with usual names."""
    question, answer = _question_and_answer(columns, data)
    context = _context(columns, data, question, answer)
    history = columns.find(HISTORY_NAMES)
    as_chat = columns.count(history) and data.written_with != "prompt_template"  # which has no place for it
    mapping = Mapping(
        kind="messages" if as_chat else "alpaca", instruction=question, input=context, output=answer,
        system=_system(columns, data), history=history if as_chat else "",
    )  # fmt: skip
    names = (question.lower(), answer.lower())
    known = names in KNOWN_PAIRS
    others: list[Alternative] = []
    if question and not context and not is_template(question):
        label = say('"{column}" as the input, with no instruction', column=question)
        others.append(Alternative(label, {"instruction_column": "", "input_column": question}))
    others.append(Alternative(say("As a chat, with the chat template"), {"written_with": "chat_template"}))
    if chat := next((name for name in columns.names if columns.has_turns(name)), ""):
        label = say('The turns in "{column}"', column=chat)
        others.append(Alternative(label, {"format": "messages", "messages_column": chat}))
    if names in (("instruction", "output"), ("", "output")):
        variant = "alpaca" if context and question else "instruction+output"
    else:
        variant = f"{question}/{answer}" if known else "pair"
    variant += HISTORY if as_chat else ""
    why = say(
        '"{question}" and "{answer}" are usual names of a question and its answer.',
        question=question or context, answer=answer,
    )  # fmt: skip
    confidence = 1.0 if forced or names == ("instruction", "output") else 0.95 if known else 0.75
    return Detected(
        mapping=mapping, variant=variant, confidence=confidence, why=forced or why, alternatives=tuple(others)
    )


def common_prompt_format(kinds: Sequence[Kind], data: DatasetSpec) -> tuple[PromptFormatName, FieldError | None]:
    """(the prompt format for the examples of all sources, an error if they do not fit together)."""
    if answers := set(kinds) & {"preference", "votes", "prompts"}:
        clash = say("Data of different kinds cannot be mixed: {kinds}.", kinds=", ".join(sorted(set(kinds))))
        wrong = len(set(kinds)) > 1 and not (
            answers == {"prompts"} and set(kinds) <= {"prompts", "alpaca", "messages"}
        )
        by_template = data.written_with == "prompt_template"
        return "alpaca" if by_template else "messages", FieldError("dataset.mix", clash) if wrong else None
    if "text" in kinds:
        clash = say("Plain text cannot be mixed with questions and answers: train on each in a separate run.")
        return "plain", FieldError("dataset.mix", clash) if set(kinds) - {"text"} else None
    if "messages" in kinds:
        clash = say("Chats are mixed in: choose the chat template. A prompt template cannot hold a chat.")
        wrong = data.written_with == "prompt_template" and "alpaca" in kinds
        return "messages", FieldError("dataset.written_with", clash) if wrong else None
    return "messages" if data.written_with == "chat_template" else "alpaca", None
