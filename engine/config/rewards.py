"""The checks that score answers in GRPO, as a spec lists them: the name of a check, or an object with its settings.

What a check does is in `engine.rewards`. Here are its settings, and what is wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from engine.config.json_schema import schema_error
from engine.config.object_lines import ObjectLine
from engine.config.scripts import SCRIPTS
from engine.config.spelling import did_you_mean
from engine.messages.message import Message, say

MOST_CHARACTERS = 80  # of an entry that an error quotes
MOST_WEIGHT = 1000


class Check(ObjectLine, frozen=True, kw_only=True, omit_defaults=True, tag_field="check", tag=str.lower):
    """`weight`: what its score, from 0 to 1, is multiplied by; a negative one makes it a penalty."""

    weight: float = 1.0

    path_fields: ClassVar[tuple[str, ...]] = ()  # its settings that are paths on this machine

    @property
    def name(self) -> str:
        return str(self.__struct_config__.tag)

    def error(self) -> Message | None:
        """What is wrong with the settings, as far as no file is needed."""
        return None


class RightAnswer(Check, frozen=True, kw_only=True, tag="answer"):
    """The answer is the reference. auto: as numbers if the reference is one. `tolerance`: between numbers."""

    mode: Literal["auto", "exact", "number"] = "auto"
    tolerance: float = 0.0

    def error(self) -> Message | None:
        return say("{entry}: tolerance must be 0 or more.") if self.tolerance < 0 else None


class Regex(Check, frozen=True, kw_only=True):
    """The answer matches. `full`: all of it, rather than a part."""

    pattern: str = ""
    full: bool = False

    def error(self) -> Message | None:
        if not self.pattern:
            return say('{entry}: it needs a pattern: {{"check": "regex", "pattern": "..."}}')
        try:
            re.compile(self.pattern)
        except (re.error, OverflowError, RecursionError) as error:
            return say("{entry}: the pattern is not a regular expression: {reason}.", reason=str(error))
        return None


class Json(Check, frozen=True, kw_only=True):
    """The answer is JSON, alone or in a code block, and fits the schema if one is given, here or in a file."""

    path_fields = ("schema_file",)
    schema: dict[str, Any] | None = None
    schema_file: str = ""

    def error(self) -> Message | None:
        if self.schema is not None and self.schema_file:
            return say("{entry}: give schema or schema_file, not both.")
        return schema_error(self.schema) if self.schema is not None else None


class Length(Check, frozen=True, kw_only=True):
    """The answer is from `min` to `max` units long; 0 for no limit. Over `soft` units the score falls to 0."""

    min: int = 0
    max: int = 0
    unit: Literal["tokens", "words", "characters"] = "tokens"
    soft: int = 0

    def error(self) -> Message | None:
        if min(self.min, self.max, self.soft) < 0:
            return say("{entry}: min, max and soft must be 0 or more.")
        if not (self.min or self.max):
            return say("{entry}: it needs min or max.")
        if self.max and self.min > self.max:
            return say("{entry}: min is above max.")
        return None


class Language(Check, frozen=True, kw_only=True):
    """The share of letters in the script of the language."""

    language: str = ""

    def error(self) -> Message | None:
        if self.language in SCRIPTS:
            return None
        return say("{entry}: language must be one of {names}.", names=", ".join(SCRIPTS))


class Forbidden(Check, frozen=True, kw_only=True):
    """None of the words is in the answer. Upper and lower case are the same."""

    words: tuple[str, ...] = ()

    def error(self) -> Message | None:
        if not self.words or not all(word.strip() for word in self.words):
            return say('{entry}: it needs words: {{"check": "forbidden", "words": ["..."]}}')
        return None


class Format(Check, frozen=True, kw_only=True):
    """<think>…</think> and <answer>…</answer>, each once, in this order, and nothing else. `tags`: other names."""

    tags: tuple[str, ...] = ("think", "answer")

    def error(self) -> Message | None:
        if not self.tags or not all(re.fullmatch(r"\w+", tag) for tag in self.tags):
            return say('{entry}: tags must be names such as "think", without brackets.')
        return say("{entry}: a tag is named twice.") if len(set(self.tags)) < len(self.tags) else None


class Similarity(Check, frozen=True, kw_only=True):
    """How close the answer is to the reference. words: F1 of shared words; characters: difflib's ratio."""

    by: Literal["words", "characters"] = "words"


class RewardModel(Check, frozen=True, kw_only=True, tag="reward_model"):
    """The score of a reward model that was trained here, between 0 and 1. `path`: its run or folder."""

    path_fields = ("path",)
    path: str = ""

    def error(self) -> Message | None:
        return None if self.path else say("{entry}: it needs the path of a run or a folder with a reward model.")


class Python(Check, frozen=True, kw_only=True):
    """A function in `grpo.rewards_file`; empty: all that no other entry names. Its scores are used as they are."""

    function: str = ""


AnyCheck = RightAnswer | Regex | Json | Length | Language | Forbidden | Format | Similarity | RewardModel | Python
CHECKS: dict[str, type[AnyCheck]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (RightAnswer, Regex, Json, Length, Language, Forbidden, Format, Similarity, RewardModel, Python)
}


def checks_of(entries: Sequence[str | AnyCheck], rewards_file: str) -> list[AnyCheck]:
    """The entries as checks. A file of functions that no entry mentions counts with all of them."""
    found = [CHECKS[entry.strip()]() if isinstance(entry, str) else entry for entry in entries]
    if rewards_file and not any(isinstance(check, Python) for check in found):
        found.append(Python())
    return found


def with_paths(entry: str | AnyCheck, change: Callable[[str], str]) -> Any:
    """The entry as plain values, with its paths changed."""
    if isinstance(entry, str):
        return entry
    paths = {name: change(path) for name in entry.path_fields if (path := getattr(entry, name))}
    return msgspec.to_builtins(msgspec.structs.replace(entry, **paths))


def entry_errors(entries: object) -> Iterator[Message]:
    """What is wrong with each entry of a list, also of one that has other types than a spec.

    The reasons are templates that begin with the entry: its number and check.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        yield say("Give a list of checks, such as [answer, format].")
        return
    for number, entry in enumerate(entries, 1):
        if reason := _entry_error(entry):
            yield say(reason.template, **{**reason.values, "entry": f"#{number} {_title(entry)}"})


def first_entry_error(entries: object) -> Message | None:
    return next(entry_errors(entries), None)


def _title(entry: object) -> str:
    if isinstance(entry, Check):
        return entry.name
    named = entry.get("check", entry) if isinstance(entry, Mapping) else entry
    return str(named)[:MOST_CHARACTERS]


def _entry_error(entry: object) -> Message | None:
    """Why an entry is not a check, or what is wrong with its settings."""
    if isinstance(entry, str) and entry.lstrip().startswith("{"):
        try:
            entry = msgspec.json.decode(entry)
        except msgspec.DecodeError as error:
            return say("{entry}: this is not valid JSON: {reason}.", reason=str(error))
    if isinstance(entry, str):
        entry = {"check": entry.strip()}
    if isinstance(entry, Mapping):
        kind = CHECKS.get(str(entry.get("check")))
        if kind is None:
            return _unknown_check(entry.get("check"))
        if reason := _settings_error(kind, entry):
            return reason
        entry = msgspec.convert(dict(entry), kind)
    if not isinstance(entry, Check):
        return say('{entry}: give the name of a check, or an object such as {{"check": "answer"}}.')
    if not 0 < abs(entry.weight) <= MOST_WEIGHT:
        return say("{entry}: its weight must not be 0, and at most {most}.", most=MOST_WEIGHT)
    return entry.error()


def _unknown_check(name: object) -> Message:
    if name is None:
        return say('{entry}: the key "check" is missing; it is one of {names}.', names=", ".join(CHECKS))
    if near := did_you_mean(str(name), list(CHECKS)):
        return say("{entry}: there is no such check. Did you mean {near}?", near=near)
    return say("{entry}: there is no such check. There are: {names}.", names=", ".join(CHECKS))


def _settings_error(kind: type[AnyCheck], entry: Mapping[str, Any]) -> Message | None:
    """Why the settings of an entry are not those of its check."""
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, value in entry.items():
        if key == "check":
            continue
        if key not in known:
            near = did_you_mean(str(key), list(known))
            if near:
                return say('{entry}: there is no setting "{key}". Did you mean {near}?', key=str(key), near=near)
            return say(
                '{entry}: there is no setting "{key}". There are: {names}.', key=str(key), names=", ".join(known)
            )
        try:
            msgspec.convert(value, known[key].type)
        except msgspec.ValidationError as error:
            return say("{entry}: {key} is wrong: {reason}.", key=key, reason=str(error).partition(" - at")[0])
    return None
