"""Compiles the catalogues of texts when Loris is built, for a wheel as for an editable install."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CatalogueHook(BuildHookInterface):  # type: ignore[type-arg]
    """Writes a .mo beside each .po, where gettext looks for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        for path in Path(self.root, "tui", "locale").glob("*/LC_MESSAGES/*.po"):
            compiled, target = BytesIO(), path.with_suffix(".mo")
            with path.open("rb") as file:
                write_mo(compiled, read_po(file, locale=path.parts[-3]))
            # Its time counts for uv, which builds anew when a file of tool.uv.cache-keys has changed.
            if not target.exists() or target.read_bytes() != compiled.getvalue():
                target.write_bytes(compiled.getvalue())
