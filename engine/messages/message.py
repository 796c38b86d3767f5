"""Messages written once in English and translated where they are shown.

The engine does not know the user's language. It sends the English template and its values; the terminal looks up
the translation in a catalogue and fills in the values.
"""

from collections.abc import Callable

import msgspec

Value = str | int | float | bool | None


def N_(template: str) -> str:
    """Mark a literal for extraction into the catalogues; returns it unchanged."""
    return template


def untranslated(template: str) -> str:
    """The catalogue of English: every template is its own translation."""
    return template


class Message(msgspec.Struct, frozen=True):
    """A text for the user: a `str.format` template in English and the values to fill in."""

    template: str
    values: dict[str, Value] = {}

    def render(self, translate: Callable[[str], str] = untranslated) -> str:
        """The text in the language of `translate`, a gettext function."""
        try:
            return translate(self.template).format(**self.values)
        except (KeyError, IndexError, ValueError):
            return self.template  # a template of another version: show it rather than fail

    def __str__(self) -> str:
        return self.render()


def say(template: str, **values: Value) -> Message:
    """Build a `Message`. Write `say(N_("... {name}"), name=...)` so that the template is extracted."""
    return Message(template, values)
