"""From a file or a Hub dataset to the texts that are learned."""

from __future__ import annotations

import codecs
import glob
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from unsloth.chat_templates import train_on_responses_only
from unsloth_zoo.dataset_utils import get_chat_template_parts

from engine import hardware
from engine.failures import RunFailed, explain, last_line
from engine.preflight import rows_key
from engine.preflight.data import MESSAGE_COLUMNS
from engine.preflight.places import is_local
from engine.preflight.rows import DataError
from engine.record import EventWriter
from engine.spec import events as ev
from engine.spec import prompts
from engine.spec.run import DatasetSpec, RunSpec
from engine.spec.text import N_, say
from engine.style import Format, Style, adds_bos, after_answer, choose_template, encode, style_for

LOADERS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".parquet": "parquet"}
ROLES = {"human": "user", "input": "user", "gpt": "assistant", "output": "assistant", "model": "assistant",
         "bot": "assistant", "chatgpt": "assistant"}  # fmt: skip
LONGEST_MARKER = 60  # characters
FEW_ROWS = 5_000  # below this, starting processes costs more than they save

BROKEN_HINT = say(N_("JSON: one list of objects. JSONL: one object a line, all with the same columns."))


@dataclass
class Prepared:
    """Texts ready for the trainer, in its column "text", and how they were made."""

    train: Dataset
    held_out: Dataset | None
    style: Style
    columns: tuple[str, ...]
    example_raw: str
    instruction_part: str
    response_part: str


def processes(spec: RunSpec, rows: int) -> int | None:
    """How many processes prepare the data; None is this one alone."""
    wanted = spec.training.dataset_num_proc
    return wanted if rows >= FEW_ROWS and wanted > 1 else None


def prepare(spec: RunSpec, tokenizer: Any, stop_ids: list[int], record: EventWriter) -> tuple[Prepared, Any]:
    """The texts to learn, and the tokenizer with the chosen chat template. Raises `RunFailed`."""
    data = spec.dataset
    rows = fetch(data)
    kind, column = detect(data, rows)
    style = style_for(data, kind)
    if kind == "messages":
        tokenizer = choose_template(tokenizer, data.chat_template)
        check_ending(tokenizer, [*stop_ids, tokenizer.eos_token_id])
    rows = without_empty(rows, column, data, record)
    held_out = None
    if data.test_size:
        rows, held_out = hold_out(rows, data.test_size, spec.training.seed)
    parts = markers(data, style, tokenizer) if data.train_on_responses_only else ("", "")
    prepared = Prepared(
        train=as_text(rows, spec, style, column, tokenizer),
        held_out=as_text(held_out, spec, style, column, tokenizer) if held_out else None,
        style=style,
        columns=tuple(rows.column_names),
        example_raw=json.dumps(rows[0], ensure_ascii=False, indent=2, default=str),
        instruction_part=parts[0],
        response_part=parts[1],
    )
    return prepared, tokenizer


def fetch(data: DatasetSpec) -> Dataset:
    """The rows, from this machine or the Hub. Raises `RunFailed` at the setting to blame."""
    path = Path(data.path).expanduser()
    arguments: dict[str, Any] = {"path": data.path, "name": data.name or None}
    if is_local(data.path):
        if not path.exists():
            raise RunFailed(
                "dataset_missing",
                say(N_("There is no such file: {path}."), path=str(path)),
                say(N_("Give a JSON or JSONL file on this machine, or a Hub id such as owner/name.")),
                "dataset.path",
            )
        if path.is_file():
            loader = LOADERS.get(path.suffix.lower())
            if loader is None:
                raise RunFailed(
                    "dataset_unknown_type",
                    say(N_("{path} is of no known kind."), path=str(path)),
                    say(N_("Known endings: {endings}."), endings=", ".join(LOADERS)),
                    "dataset.path",
                )
            if not path.stat().st_size:
                raise no_rows(data)
            arguments = {"path": loader, "data_files": glob.escape(str(path))}
            if loader == "json":
                arguments |= json_arguments(path)
    try:
        rows = load_dataset(split=data.split, **arguments)
    except ValueError as error:
        raise _load_error(data, error) from error
    except Exception as error:
        failure = explain(error, "dataset.path")
        raise (broken(error) if failure.code == "crashed" else failure) from error
    if not isinstance(rows, Dataset):
        raise RunFailed("split_missing", say(N_("Name one split, such as train.")), None, "dataset.split")
    if not len(rows):
        raise no_rows(data)
    return rows


def json_arguments(path: Path) -> dict[str, Any]:
    """What the loader of a JSON file must be told: the key of its rows, and of a byte order mark."""
    found: dict[str, Any] = {}
    try:
        if key := rows_key(path):
            found["field"] = key
    except DataError as error:
        raise RunFailed("dataset_broken", error.message, BROKEN_HINT, "dataset.path") from error
    with path.open("rb") as file:
        if file.read(3) == codecs.BOM_UTF8:
            found["encoding"] = "utf-8-sig"
    return found


def _load_error(data: DatasetSpec, error: ValueError) -> RunFailed:
    """datasets says ValueError for a wrong split, a wrong configuration and an empty file alike."""
    text = str(error)
    if "corresponds to no data" in text:
        return no_rows(data)
    if "split" in text.lower():
        return RunFailed(
            "split_missing",
            say(N_('The dataset has no split "{split}": {reason}'), split=data.split, reason=last_line(error)),
            say(N_("train is the usual name; a file of your own has only that.")),
            "dataset.split",
        )
    if "onfig" in text:
        return RunFailed(
            "config_missing",
            say(N_("Name one of the dataset's configurations: {reason}"), reason=last_line(error)),
            None,
            "dataset.name",
        )
    failure = explain(error, "dataset.path")
    return broken(error) if failure.code == "crashed" else failure


def broken(error: BaseException) -> RunFailed:
    """The file is there but cannot be read as rows."""
    cause = error.__cause__ or error
    return RunFailed(
        "dataset_broken",
        say(N_("The dataset cannot be read: {reason}"), reason=last_line(cause)),
        BROKEN_HINT,
        "dataset.path",
    )


def no_rows(data: DatasetSpec) -> RunFailed:
    return RunFailed(
        "dataset_empty",
        say(N_("The dataset has no rows: {path}, split {split}."), path=data.path, split=data.split),
        say(N_("Check the file, or take a larger slice.")),
        "dataset.path",
    )


def _column_missing(field: str, name: str, rows: Dataset) -> RunFailed:
    return RunFailed(
        "column_missing",
        say(
            N_('The dataset has no column "{name}". It has: {columns}.'),
            name=name, columns=", ".join(rows.column_names),
        ),
        say(N_("Say which column holds what in the dataset settings.")),
        field,
    )  # fmt: skip


def detect(data: DatasetSpec, rows: Dataset) -> tuple[Format, str]:
    """The kind of the data, and the column with the turns if it is a chat. Raises `RunFailed`."""
    columns = rows.column_names
    wanted = MESSAGE_COLUMNS if data.messages_column == "auto" else (data.messages_column,)
    turns = next((name for name in wanted if name in columns), "")
    if data.format == "messages" or (data.format == "auto" and turns and data.output_column not in columns):
        if not turns:
            raise _column_missing("dataset.messages_column", wanted[0], rows)
        first = next((row for row in rows[turns] if row), None)
        if first is not None and not (isinstance(first, list) and isinstance(first[0], Mapping)):
            raise RunFailed(
                "column_missing",
                say(N_('The column "{name}" holds no turns of a conversation.'), name=turns),
                say(N_("Each row needs a list of turns with role and content.")),
                "dataset.messages_column",
            )
        return "messages", turns
    for field in ("output", "instruction"):
        name = getattr(data, f"{field}_column")
        if name not in columns and (name or field == "output"):
            raise _column_missing(f"dataset.{field}_column", name, rows)
    return "alpaca", ""


def without_empty(rows: Dataset, column: str, data: DatasetSpec, record: EventWriter) -> Dataset:
    """The rows with an answer: nothing can be learned of the others, which are left out with a notice."""
    cells = rows[column or data.output_column]
    if column:
        kept = [index for index, turns in enumerate(cells) if turns and through_answer(as_turns(turns))]
    else:
        kept = [index for index, cell in enumerate(cells) if as_string(cell).strip()]
    if not kept:
        raise RunFailed(
            "dataset_empty",
            say(N_("No row of the dataset has an answer.")),
            say(N_("A conversation needs a turn of the assistant; other rows need text in the output column.")),
            "dataset.path",
        )
    if len(kept) < len(rows):
        left_out = say(N_("Rows without an answer left out: {count}."), count=len(rows) - len(kept))
        record.emit(ev.Notice(code="rows_left_out", message=left_out, level="warning"))
        return rows.select(kept)
    return rows


def hold_out(rows: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(rows to learn, rows to measure the loss on)."""
    try:
        parts = rows.train_test_split(test_size=share, seed=seed)
    except ValueError as error:
        raise RunFailed(
            "dataset_too_small",
            say(N_("Of {rows} rows, a share of {share} cannot be held out."), rows=len(rows), share=share),
            say(N_("Set it to 0, or add data.")),
            "dataset.test_size",
        ) from error
    return parts["train"], parts["test"]


def as_string(value: Any) -> str:
    """A cell as text: nothing for null, JSON for what is no text."""
    if value is None:
        return ""
    if isinstance(value, datetime):  # a text that its loader took for a date
        return str(value).removesuffix(" 00:00:00")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def as_turns(turns: list[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Turns under the names that chat templates want; ShareGPT calls them from and value."""
    found = []
    for turn in turns:
        role = as_string(turn.get("role") or turn.get("from")).strip().lower()
        content = turn["content"] if turn.get("content") is not None else turn.get("value")
        found.append({"role": ROLES.get(role, role), "content": as_string(_text_of(content))})
    return found


def _text_of(content: Any) -> Any:
    """The text of a content in parts, as OpenAI's format has them; any other content as it is."""
    if isinstance(content, list) and content and all(isinstance(p, Mapping) and p.get("text") for p in content):
        return "".join(as_string(part["text"]) for part in content)
    return content


def through_answer(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation up to its last answer: a question after it, or without one, teaches nothing."""
    answers = [n for n, turn in enumerate(turns, 1) if turn["role"] == "assistant" and turn["content"].strip()]
    return turns[: answers[-1]] if answers else []


def as_text(rows: Dataset, spec: RunSpec, style: Style, column: str, tokenizer: Any) -> Dataset:
    """The rows as texts, in the one column "text"."""
    data = spec.dataset
    # TRL's own trainer, which Unsloth uses on a CPU, adds the beginning-of-sequence token to a text that has
    # it already; Unsloth's on a GPU does not.
    bos = tokenizer.bos_token if hardware.device().kind == "cpu" and adds_bos(tokenizer) else ""
    cells = {name: getattr(data, f"{name}_column") for name in prompts.PLACEHOLDERS}

    def text(row: dict[str, Any]) -> dict[str, str]:
        if column:
            return {"text": style.training_text(tokenizer, through_answer(as_turns(row[column]))).removeprefix(bos)}
        content = {n: as_string(row.get(c)) for n, c in cells.items()}
        return {"text": style.training_text(tokenizer, content).removeprefix(bos)}

    return rows.map(
        text, remove_columns=rows.column_names, num_proc=processes(spec, len(rows)), desc="Writing as text"
    )


def markers(data: DatasetSpec, style: Style, tokenizer: Any) -> tuple[str, str]:
    """The texts that open a question and an answer, as given or as found in the template."""
    if data.instruction_part and data.response_part:
        return data.instruction_part, data.response_part
    if style.format == "messages":
        try:
            found: tuple[str, str] = get_chat_template_parts(tokenizer)
        except Exception as error:
            raise no_markers(last_line(error)) from error
        return found
    return alpaca_markers(style, tokenizer)


def alpaca_markers(style: Style, tokenizer: Any) -> tuple[str, str]:
    """The texts before question and answer in a prompt text, as far as the tokenizer always cuts them alike.

    Line ends melt into other tokens beside an empty input, and many tokenizers cut a text's first word in a
    way of its own. So ever shorter ends of the text before the answer are tried on examples with and without
    an input, and the first that masks both right is taken.
    """
    before = prompts.before_answer(style.template)
    for name in prompts.PLACEHOLDERS:
        before = before.replace(f"{{{name}}}", "\0")
    first, last = before.split("\0")[0], before.split("\0")[-1]
    opening = first.rstrip("\n")
    question = opening.rpartition("\n")[2] + first[len(opening) :]
    for start in range(max(0, len(last) - LONGEST_MARKER), len(last)):
        response = last[start:]
        parts = (question if question.strip() else response, response)
        if response.strip() and all(_masks(style, tokenizer, parts, extra) for extra in ("", "Some input.")):
            return parts
    raise no_markers("")


def _masks(style: Style, tokenizer: Any, parts: tuple[str, str], extra: str) -> bool:
    """Whether masking with these markers leaves just the answer of an example."""
    row = {"instruction": "Do it.", "input": extra, "output": "The answer."}
    ids = encode(tokenizer, style.training_text(tokenizer, row))
    try:
        mask = train_on_responses_only(
            None, instruction_part=parts[0], response_part=parts[1], tokenizer=tokenizer, return_function=True
        )
        kept = [label for label in mask({"input_ids": [ids]})["labels"][0] if label != -100]
    except ValueError:  # a marker that comes to no token
        return False
    text: str = tokenizer.decode(kept, skip_special_tokens=True)
    return text.strip() == row["output"] + style.template.partition("{output}")[2].strip()


def no_markers(reason: str) -> RunFailed:
    return RunFailed(
        "markers_missing",
        say(N_("The text that opens an answer cannot be found in the template. {reason}"), reason=reason),
        say(N_("Fill in both markers, or switch off training on responses only.")),
        "dataset.response_part",
    )


def check_ending(tokenizer: Any, stop_ids: list[int]) -> None:
    """Raises `RunFailed` when the chat template does not end an answer with a token that stops the model."""
    tail = after_answer(tokenizer)
    if not set(tokenizer(tail, add_special_tokens=False)["input_ids"]) & set(stop_ids):
        raise eos_missing(tokenizer, "dataset.chat_template")


def eos_missing(tokenizer: Any, field: str) -> RunFailed:
    """The model would not learn to end its answers."""
    return RunFailed(
        "eos_missing",
        say(
            N_("No example ends with the token that stops the model, {eos}: its answers would never stop."),
            eos=as_string(tokenizer.eos_token),
        ),
        say(N_("Choose another chat template, for instance chatml, or correct the tokenizer of the model.")),
        field,
    )
