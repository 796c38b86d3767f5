"""Collects every text of Loris and brings the catalogues up to date: `uv run python -m tests.tools.catalogue`.

New texts are added empty, texts that are gone are dropped, and translations are kept. A changed text counts as a
new one: a guess at its translation would be shown to users unread, so none is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from engine.config.presets import list_presets
from tui.text.translation import LANGUAGES, LOCALE_FOLDER

ROOT = Path(__file__).parents[2]
HEADER = "# The texts of Loris, Apache-2.0. Brought up to date by tests/tools/catalogue.py."
KEYWORDS = {"_": None, "N_": None, "say": (1,)}


def texts() -> Iterator[tuple[str, str]]:
    """(text, file) of everything that is marked in the code or shown from a shipped preset."""
    for folder in ("engine", "tui"):
        for file, _line, text, _comments, _context in extract_from_dir(
            ROOT / folder, method_map=[("**.py", "python")], keywords=KEYWORDS
        ):
            for one in text if isinstance(text, tuple) else (text,):
                if one:
                    yield one, f"{folder}/{file}"
    for preset in list_presets():
        if preset.shipped and preset.spec and preset.spec.description:
            yield preset.spec.description, f"presets/{preset.path.name}"


def read(code: str) -> Catalog:
    """The catalogue of a language as it is on disk; empty when there is none yet."""
    path = po_path(code)
    if not path.exists():
        return Catalog(locale=code, project="Loris", charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=code)


def po_path(code: str) -> Path:
    return LOCALE_FOLDER / code / "LC_MESSAGES" / "loris.po"


def update(code: str) -> tuple[int, int]:
    """Rewrite a language's catalogue from the code. Returns (texts, untranslated)."""
    old = read(code)
    new = Catalog(locale=code, project="Loris", charset="utf-8", fuzzy=False, header_comment=HEADER)
    new.creation_date = new.revision_date = old.creation_date  # no change of date without a change of text
    for text, file in texts():
        known = old.get(text)
        new.add(text, known.string if known and not known.fuzzy else "", locations=[(file, None)])  # type: ignore[list-item]
    path = po_path(code)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        write_po(out, new, width=100, omit_header=False, sort_output=True, include_lineno=False)
    with path.with_suffix(".mo").open("wb") as out:
        write_mo(out, read(code))
    return len(new), sum(1 for message in new if message.id and not message.string)


def main() -> None:
    for code in LANGUAGES:
        if code != "en":
            total, empty = update(code)
            print(f"{code}: {total} texts, {empty} untranslated")  # noqa: T201


if __name__ == "__main__":
    main()
