"""English and Simplified Chinese, through gettext catalogues in `tui/locale`.

The English text is the key. `_` translates when it is called, never at import, so that the language can change
while the app runs. Texts defined at module level, or in the engine, are marked with `N_` and translated when
shown. After changing a text: `uv run python -m tests.tools.catalogue` updates the catalogues.
"""

from __future__ import annotations

import gettext
import os
from functools import cache
from io import BytesIO
from pathlib import Path

from engine.messages.message import N_, Message

__all__ = ["LANGUAGES", "N_", "_", "language", "language_of_locale", "render", "set_language"]

LANGUAGES = {"en": "English", "zh": "简体中文"}
LOCALE_FOLDER = Path(__file__).parents[1] / "locale"

_language = "en"


@cache
def _catalogue(code: str) -> gettext.NullTranslations:
    """The catalogue of a language, compiled in memory: the .po file is the only copy (100 ms, Chinese only)."""
    path = LOCALE_FOLDER / code / "LC_MESSAGES" / "loris.po"
    if not path.exists():
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def set_language(code: str) -> None:
    """Show everything in this language from now on. Raises KeyError for one that Loris does not speak."""
    global _language
    LANGUAGES[code]
    _language = code


def language() -> str:
    """The code of the language in use, a key of `LANGUAGES`."""
    return _language


def language_of_locale() -> str:
    """The language that the environment asks for, in gettext's order; English when it names none of ours."""
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        for wanted in os.environ.get(variable, "").split(":"):
            if wanted:
                return next((code for code in LANGUAGES if wanted.lower().startswith(code)), "en")
    return "en"


def _(template: str) -> str:
    """The text in the language in use."""
    return _catalogue(_language).gettext(template) if template else ""


def render(message: Message) -> str:
    """A message of the engine in the language in use."""
    return message.render(_)
