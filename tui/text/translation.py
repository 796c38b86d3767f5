"""English and Simplified Chinese, through gettext catalogues in `tui/locale`.

The English text is the key. `_` translates when it is called, never at import, so that the language can change
while the app runs. Texts defined at module level, or in the engine, are marked with `N_` and translated when
shown. After changing a text: `uv run python -m tests.tools.catalogue` updates the catalogues. The .mo files
that are read are made by hatch_build.py when Loris is built or installed; `uv run` does so after every change.
"""

import gettext
import os
from functools import cache
from pathlib import Path

from engine.messages.message import N_, Message

__all__ = ["LANGUAGES", "N_", "_", "language", "language_of_locale", "render", "set_language"]

LANGUAGES = {"en": "English", "zh": "简体中文"}
LOCALE_FOLDER = Path(__file__).parents[1] / "locale"

_language = "en"


@cache
def _catalogue(code: str) -> gettext.NullTranslations:
    return gettext.translation("loris", LOCALE_FOLDER, [code], fallback=True)


def set_language(code: str) -> None:
    """Show everything in this language from now on. Raises KeyError for one that is not in `LANGUAGES`."""
    global _language
    LANGUAGES[code]
    _language = code


def language() -> str:
    """The code of the current language, a key of `LANGUAGES`."""
    return _language


def language_of_locale() -> str:
    """The language that the environment asks for, in gettext's order; English when it names none of ours."""
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        for wanted in os.environ.get(variable, "").split(":"):
            if wanted:
                return next((code for code in LANGUAGES if wanted.lower().startswith(code)), "en")
    return "en"


def _(template: str) -> str:
    """The text in the current language."""
    return _catalogue(_language).gettext(template) if template else ""


def render(message: Message) -> str:
    """A message of the engine in the current language."""
    return message.render(_)
