"""Messages written once in English and translated where they are shown.

The engine does not know the user's language. It sends the English template and its values; the terminal looks up
the translation in a catalogue and fills in the values.
"""

import re
from collections.abc import Callable

import msgspec

Value = str | int | float | bool | None
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def N_(template: str) -> str:
    """Mark a literal for extraction into the catalogues; returns it unchanged."""
    return template


def untranslated(template: str) -> str:
    """The catalogue of English: every template is its own translation."""
    return template


class Message(msgspec.Struct, frozen=True):
    """A text for the user: a template in English, with placeholders like {name}, and the values to fill in.

    It may come from someone else's run folder, so there is no more to it: `str.format` would allocate what a width
    asks for and read attributes. What has no value is shown as it is.
    """

    template: str
    values: dict[str, Value] = {}

    def render(self, translate: Callable[[str], str] = untranslated) -> str:
        """The text in the language of `translate`, a gettext function."""
        return _PLACEHOLDER.sub(self._fill, translate(self.template))

    def _fill(self, found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0][0]  # a doubled brace
        return str(self.values[name]) if name in self.values else found[0]

    def __str__(self) -> str:
        return self.render()


def say(template: str, **values: Value) -> Message:
    """Build a `Message`. Write `say(N_("... {name}"), name=...)` so that the template is extracted."""
    return Message(template, values)
