"""The building blocks of the sections of a run spec."""

from typing import Any

import msgspec
from msgspec import Meta

CHOICES = "choices"  # in a field's `extra`: what a form offers, where other values are valid too


def about(title: str, description: str, **bounds: Any) -> Meta:
    """The label, the help and the bounds of a field. `title` and `description` are marked with `N_`."""
    return Meta(title=title, description=description, **bounds)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of fields: one screen of the wizard, one block of the YAML file."""
