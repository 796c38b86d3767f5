"""Names of keys in the current language. Bindings are made at import, with texts marked by `N_`."""

import dataclasses

from textual.binding import ActiveBinding

from tui.text.translation import N_, _

PALETTE = N_("palette")  # Textual's own names for keys of the footer
PALETTE_TOOLTIP = N_("Open the command palette")


def translated(bindings: dict[str, ActiveBinding]) -> dict[str, ActiveBinding]:
    """The same bindings with translated descriptions and tooltips, for `Screen.active_bindings`."""
    return {
        key: active._replace(
            binding=dataclasses.replace(
                active.binding, description=_(active.binding.description), tooltip=_(active.binding.tooltip)
            ),
            tooltip=_(active.tooltip),
        )
        for key, active in bindings.items()
    }
