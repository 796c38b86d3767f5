"""The building blocks of the sections of a run spec."""

from typing import Any

import msgspec
from msgspec import Meta

# In a field's `extra`:
CHOICES = "choices"  # what a form offers, where other values are valid too
EXPLAIN = "explain"  # a function that says what is wrong with a value that is not of the field's type


def about(title: str, description: str, **bounds: Any) -> Meta:
    """The label, the help and the bounds of a field. `title` and `description` are marked with `N_`."""
    return Meta(title=title, description=description, **bounds)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of fields: one screen of the wizard, one block of the YAML file."""
