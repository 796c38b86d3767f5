"""`loris presets`: those that ship with Loris, and the user's."""

from engine.messages.exit_codes import COMPLETED
from tui.text.translation import _


def list_presets() -> int:
    """Print every preset: name, path, description."""
    from engine.config.presets import list_presets as all_presets
    from tui.text.errors import error_lines, print_error
    from tui.text.sanitize import visible

    for preset in all_presets():
        print(visible(f"{preset.name}  {preset.path}"))  # noqa: T201
        if preset.error:
            print_error("\n".join(error_lines(preset.path, preset.error.errors)))
        elif preset.spec and preset.spec.description:
            description = preset.spec.description
            print("    " + visible(_(description) if preset.shipped else description))  # noqa: T201
    return COMPLETED
