"""Renders the subset of Go's text/template that Loris's Modelfiles use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_ACTION = re.compile(r'\{\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}\}')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|:=|,|[^\s()",:]+')


def ollama(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt that Ollama sends to llama.cpp: a template gets the joined system texts and all messages."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    listed = [{"Role": m["role"], "Content": m["content"]} for m in messages]
    data = {"System": system, "Messages": listed}
    pieces, at = [], 0
    for found in _ACTION.finditer(template):
        pieces += [("text", template[at : found.start()]), ("do", found[1].strip())]
        at = found.end()
    pieces.append(("text", template[at:]))
    tree, rest = _block(pieces, 0)
    assert rest == len(pieces), "an end too many"
    return _run(tree, data, {"$": data})


def _block(pieces: list[tuple[str, str]], at: int) -> tuple[list[Any], int]:
    """(tree, position of the `end` or `else` that closes it)."""
    tree: list[Any] = []
    while at < len(pieces):
        kind, text = pieces[at]
        word = text.split(" ", 1)[0] if kind == "do" else ""
        if word in ("end", "else"):
            return tree, at
        if word in ("if", "range"):
            body, at = _block(pieces, at + 1)
            other: list[Any] = []
            closing = pieces[at][1]
            if closing.startswith("else if"):
                pieces[at] = ("do", closing.removeprefix("else "))
                other, at = _block([*pieces[at:], ("do", "end")], 0)[0], _end_of(pieces, at)
            elif closing == "else":
                other, at = _block(pieces, at + 1)
            tree.append((word, text.split(" ", 1)[1], body, other))
        else:
            tree.append((kind, text))
        at += 1
    return tree, at


def _end_of(pieces: list[tuple[str, str]], at: int) -> int:
    """The position of the `end` for the `if` at `at`."""
    depth = 0
    for number in range(at, len(pieces)):
        kind, text = pieces[number]
        if kind == "do" and text.split(" ", 1)[0] in ("if", "range"):
            depth += 1
        elif kind == "do" and text == "end":
            depth -= 1
            if depth == 0:
                return number
    raise AssertionError("no end")


def _run(tree: list[Any], dot: Any, names: dict[str, Any]) -> str:
    out = ""
    for node in tree:
        match node:
            case ("text", text):
                out += text
            case ("if", condition, body, other):
                out += _run(body if _value(condition, dot, names) else other, dot, names)
            case ("range", words, body, _):
                index, item, listed = re.fullmatch(r"(\$\w+), (\$\w+) := (.+)", words).groups()  # type: ignore[union-attr]
                for number, one in enumerate(_value(listed, dot, names)):
                    out += _run(body, one, {**names, index: number, item: one})
            case ("do", text) if ":=" in text:
                name, _, expression = text.partition(":=")
                names[name.strip()] = _value(expression.strip(), dot, names)
            case ("do", text):
                out += str(_value(text, dot, names))
    return out


def _value(text: str, dot: Any, names: dict[str, Any]) -> Any:
    tokens = _TOKEN.findall(text)

    def term() -> Any:
        token = tokens.pop(0)
        if token == "(":
            value = call()
            assert tokens.pop(0) == ")"
            return value
        if token.startswith('"'):
            return json.loads(token)
        if token.isdigit():
            return int(token)
        head, *fields = token.split(".")
        value = names[head] if head else dot
        for name in filter(None, fields):
            value = value[name]
        return value

    def call() -> Any:
        name = tokens[0]
        if name not in ("eq", "len", "slice", "and", "or", "not"):
            return term()
        tokens.pop(0)
        given = []
        while tokens and tokens[0] != ")":
            given.append(term())
        match name:
            case "eq":
                return given[0] == given[1]
            case "len":
                return len(given[0])
            case "slice":
                return given[0][given[1] :]
            case "not":
                return not given[0]
        return all(given) if name == "and" else any(given)

    return call()
