"""Every text that a user can see is marked, collected and translated, with its placeholders intact."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest

from tests.tools.catalogue import ROOT, read, texts
from tui.text import translation

# Calls whose text goes to the screen, and which of their arguments do.
SHOWN = {
    "Button": (0, "label"),
    "Checkbox": (0, "label"),
    "Collapsible": (None, "title"),
    "Label": (0, "content"),
    "Static": (0, "content"),
    "notify": (0, "message"),
    "Input": (None, "placeholder"),
    "add_argument": (None, "help"),
}


@pytest.fixture(autouse=True)
def _english_again():
    yield
    translation.set_language("en")


def test_every_text_is_translated():
    chinese = read("zh")
    wanted = {text for text, _file in texts()}
    assert len(wanted) > 150
    missing = sorted(text for text in wanted if text not in chinese or not chinese[text].string)
    assert not missing, "run `uv run python -m tests.tools.catalogue` and translate these"


def test_no_text_is_left_over():
    wanted = {text for text, _file in texts()}
    assert sorted(str(m.id) for m in read("zh") if m.id and m.id not in wanted) == []


@pytest.mark.parametrize("code", sorted(set(translation.LANGUAGES) - {"en"}))
def test_what_is_shown_is_what_the_catalogue_says(code: str):
    written = {str(message.id): str(message.string) for message in read(code) if message.id and message.string}
    translation.set_language(code)
    shown = {text: translation._(text) for text in written}
    assert shown == written, "the .mo is not of this .po: run `uv sync`, or tests.tools.catalogue"


def placeholders(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_placeholders_survive_translation():
    for message in read("zh"):
        if message.id and "python-brace-format" in message.flags:
            assert placeholders(str(message.id)) == placeholders(str(message.string)), message.id


def test_nothing_shown_is_unmarked():
    """A literal with letters that goes straight to a widget is not marked."""
    found = []
    for path in sorted((ROOT / "tui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found += [f"{path.relative_to(ROOT)}:{node.lineno}: {text}" for text in bare_texts(node)]
    assert found == []


def bare_texts(call: ast.Call) -> list[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in SHOWN:
        return []
    position, keyword = SHOWN[name]
    shown = [k.value for k in call.keywords if k.arg == keyword]
    if position is not None:
        shown += call.args[position : position + 1]
    return [
        node.value
        for node in shown
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(c.isalpha() for c in node.value)
    ]


def test_the_check_for_bare_texts_can_fail():
    assert bare_texts(ast.parse('Static("Hello")', mode="eval").body) == ["Hello"]  # type: ignore[arg-type]
    assert bare_texts(ast.parse('Static(_("Hello"))', mode="eval").body) == []  # type: ignore[arg-type]


def test_no_key_is_collected_as_a_text():
    """`_(WORDS["a key"])`: only Babel before 2.19 collects the key. The catalogue must be the same with both."""
    found = []
    for path in sorted(file for folder in ("engine", "tui") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found += [f"{path.relative_to(ROOT)}:{node.lineno}: {key}" for key in keys_in_marked(node)]
    assert found == []


def keys_in_marked(call: ast.Call) -> list[str]:
    if getattr(call.func, "id", "") not in ("_", "N_"):
        return []
    inner = [node for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Subscript)]
    return [node.slice.value for node in inner if isinstance(node.slice, ast.Constant)]


def test_the_check_for_keys_can_fail():
    assert keys_in_marked(ast.parse('_(WORDS["key"])', mode="eval").body) == ["key"]  # type: ignore[arg-type]
    assert keys_in_marked(ast.parse("_(WORDS[key])", mode="eval").body) == []  # type: ignore[arg-type]


def test_language_changes_at_run_time():
    assert translation._("Learning rate") == "Learning rate"
    translation.set_language("zh")
    assert translation._("Learning rate") == "学习率"
    assert translation._("a text nobody translated") == "a text nobody translated"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LANGUAGE": "zh:en", "LANG": "C"}, "zh"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_language_of_locale(monkeypatch, environment, expected):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert translation.language_of_locale() == expected


def test_catalogue_is_where_it_is_looked_for():
    assert (translation.LOCALE_FOLDER / "zh" / "LC_MESSAGES" / "loris.po").is_file()
    assert Path(translation.__file__).parents[1] == translation.LOCALE_FOLDER.parent
