"""Detects the format of rows, and why: the first rule that fits most rows wins, the most certain rule first."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from engine.config.fields import FieldError, did_you_mean
from engine.config.methods import METHODS
from engine.config.role_names import role_names
from engine.config.run_spec import DatasetSpec
from engine.config.sources import READING, SpecSource
from engine.dataset.answer_detection import (
    find_pairs,
    find_prompts,
    find_votes,
    is_chat,
    named_pair,
    prompts,
    votes,
)
from engine.dataset.answers import PairMapping, PromptMapping, VoteMapping
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
from engine.dataset.mapping import Kind, Mapping, Row, columns_in, is_template
from engine.dataset.turn_shapes import HISTORY_NAMES, TOOL_NAMES, has_texts_as_turns
from engine.dataset.turns import parse_json
from engine.messages.message import N_, Message, say

HISTORY = " with history"  # of a variant: pairs with earlier turns
GUESS = 0.6  # a format of which Loris is not surer than this is a guess, of which the report warns
KNOWN_PAIRS = {
    ("instruction", "output"), ("prompt", "completion"), ("question", "answer"), ("prompt", "response"),
    ("instruction", "response"), ("query", "response"), ("input", "output"), ("问题", "回答"),
}  # fmt: skip


PromptFormatName = Literal["alpaca", "messages", "plain"]


class Alternative(msgspec.Struct, frozen=True):
    """Another way to read the same rows: the dataset settings that select it."""

    label: Message
    settings: dict[str, str]


class Detected(msgspec.Struct, frozen=True, kw_only=True):
    """The format of some rows. `confidence`: 0 to 1. `problem`: why they cannot be used."""

    mapping: Mapping
    variant: str
    confidence: float
    why: Message
    alternatives: tuple[Alternative, ...] = ()
    problem: FieldError | None = None

    @property
    def kind(self) -> Kind:
        return self.mapping.kind


def detect(rows: Sequence[Row], data: DatasetSpec, method: str = "sft") -> Detected:
    """Detect the format of the first rows of a dataset. The settings in `data` win over any guess.

    `method`: the training method; a format that it does not support is reported as a problem.
    """
    columns = Columns(rows)
    kinds = METHODS[method].kinds
    found = _from_settings(columns, data, kinds) or _guess(columns, data, kinds)
    problem = found.problem or _missing_column(found.mapping, columns, data) or _unsupported(found, method)
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
        return _preference((not named and find_pairs(columns, data)) or named_pair(columns, data), columns)
    if data.format == "votes" or data.label_column != "auto":
        return _votes(votes(columns, data), columns)
    if data.format == "prompts":
        return _prompts(prompts(columns, data))
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
        return _preference(named_pair(columns, data), columns)  # one side is empty, which is the thing to say
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
        yield _preference(pairs, columns)
    if ("votes" in kinds or compares) and (found := find_votes(columns, data)):
        yield _votes(found, columns)
    if "prompts" in kinds and (asked := find_prompts(columns, data)):
        yield _prompts(asked)
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


def _preference(mapping: PairMapping, columns: Columns) -> Detected:
    names = ", ".join(mapping.answers)
    alternatives: tuple[Alternative, ...] = ()
    if mapping.winner:
        why = say('"{column}" says which of {names} is the better answer.', column=mapping.winner, names=names)
    elif mapping.answers:
        why = say("Scores say which of the answers is better: {names}.", names=names)
    else:
        why = say('"{chosen}" has the better answers, "{rejected}" the worse ones.',
                  chosen=mapping.output, rejected=mapping.rejected)  # fmt: skip
        alternatives = (Alternative(say("Learn only the chosen answers"), _as_answers(mapping, columns)),)
    if not mapping.instruction and not is_chat(mapping, columns):
        why = say("A guess: what both answers begin with is the prompt.")
        return Detected(mapping=mapping, variant="preference", confidence=GUESS, why=why, alternatives=alternatives)
    confidence = 0.9 if mapping.answers else 1.0
    return Detected(
        mapping=mapping, variant="preference", confidence=confidence, why=why, alternatives=alternatives
    )


def _as_answers(mapping: Mapping, columns: Columns) -> dict[str, str]:
    """The settings that read prompts and answers as questions and answers."""
    prompt, answer = mapping.instruction, mapping.output
    if not columns.has_turns(answer):
        return {"format": "alpaca", "instruction_column": prompt, "output_column": answer}
    names = [name for name in (prompt, answer) if name and columns.has_turns(name)]
    return {"format": "messages", "messages_column": "+".join(names)}


def _votes(mapping: VoteMapping, columns: Columns) -> Detected:
    return Detected(
        mapping=mapping,
        variant="votes",
        confidence=1.0 if mapping.label and mapping.output else 0.0,
        why=say('"{column}" says whether an answer was good.', column=mapping.label),
        alternatives=(Alternative(say("Learn all answers, whatever the vote"), _as_answers(mapping, columns)),),
    )


def _prompts(mapping: PromptMapping) -> Detected:
    """Prompts, to which the model itself writes the answers."""
    if mapping.output:
        why = say('"{prompt}" has the prompts, "{answer}" the right answers.',
                  prompt=mapping.instruction, answer=mapping.output)  # fmt: skip
    else:
        why = say('"{prompt}" has the prompts.', prompt=mapping.instruction)
    return Detected(mapping=mapping, variant="prompts", confidence=0.9, why=why)


def _missing_of_answers(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error for the first column that pairs, votes or prompts need and the rows lack, or None."""
    names = ", ".join(columns.names)
    roles = {"instruction": mapping.instruction}
    if isinstance(mapping, PairMapping) and not mapping.answers:
        roles |= {"chosen": mapping.output, "rejected": mapping.rejected}
    elif isinstance(mapping, VoteMapping):
        roles |= {"output": mapping.output, "label": mapping.label}
    elif isinstance(mapping, PromptMapping):
        roles |= {"output": mapping.output}
    asked = {
        "instruction": say("Name the column with the prompts. The columns are: {columns}.", columns=names),
        "output": say("Name the column with the answers. The columns are: {columns}.", columns=names),
        "label": say("Name the column with the votes. The columns are: {columns}.", columns=names),
        "chosen": say("Name the column with the better answers. The columns are: {columns}.", columns=names),
        "rejected": say("Name the column with the worse answers. The columns are: {columns}.", columns=names),
    }
    optional = ("instruction",) if isinstance(mapping, (PairMapping, VoteMapping)) else ("output",)
    for role, filler in roles.items():
        if not filler and role not in optional:
            return FieldError(f"dataset.{role}_column", asked[role])
        for name in () if filler.startswith("=") else columns_in(filler):
            if name not in columns:
                automatic = getattr(data, f"{role}_column") == "auto"
                message = asked[role] if automatic else no_such_column(name, columns.names)
                return FieldError(f"dataset.{role}_column", message)
    return None


def _template_for_chats(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error if turns shall be written with the prompt template, which has no place for them, or None."""
    answers = isinstance(mapping, (PairMapping, VoteMapping, PromptMapping))
    if data.written_with != "prompt_template" or not answers or not is_chat(mapping, columns):
        return None
    message = say("These are chats: choose the chat template. A prompt template cannot hold a chat.")
    return FieldError("dataset.written_with", message)


def _missing_column(mapping: Mapping, columns: Columns, data: DatasetSpec) -> FieldError | None:
    """An error for the first column that the mapping needs and the rows lack, or None."""
    if mapping.kind in ("preference", "votes", "prompts"):
        return _missing_of_answers(mapping, columns, data) or _template_for_chats(mapping, columns, data)
    if mapping.kind == "messages":
        for name in mapping.turns:
            if name not in columns:
                if data.messages_column != "auto":
                    return FieldError("dataset.messages_column", no_such_column(name, columns.names))
                message = say(
                    "There is no column messages or conversations. The columns are: {columns}.",
                    columns=", ".join(columns.names),
                )
                return FieldError("dataset.messages_column", message)
    pair = mapping.kind == "alpaca" or mapping.history
    roles = ["text"] if mapping.kind == "text" else ["instruction", "input", "output"] if pair else []
    if pair and not mapping.output:
        message = say(
            "Name the column with the answers. The columns are: {columns}.", columns=", ".join(columns.names)
        )
        return FieldError("dataset.output_column", message)
    if mapping.kind in ("alpaca", "messages", "text"):
        for role in (*roles, "system"):
            filler = getattr(mapping, role)
            if filler.startswith("="):
                continue  # a constant can contain braces
            for name in columns_in(filler):
                if name not in columns:
                    return FieldError(f"dataset.{role}_column", no_such_column(name, columns.names))
    return None


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


def no_such_column(name: str, columns: Sequence[str]) -> Message:
    """An error that lists the existing columns and suggests a similar name."""
    known = ", ".join(columns)
    if near := did_you_mean(name, list(columns)):
        return say(
            'There is no column "{name}". Did you mean {near}? The columns are: {columns}.',
            name=name, near=near, columns=known,
        )  # fmt: skip
    return say('There is no column "{name}". The columns are: {columns}.', name=name, columns=known)
