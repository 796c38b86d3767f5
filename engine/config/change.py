"""One setting of a spec and its new value."""

from __future__ import annotations

import msgspec


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A setting to change, such as training.per_device_train_batch_size, and its new value."""

    field: str
    value: bool | int | float | str
