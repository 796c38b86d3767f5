"""Saves the draft as a preset of the user's."""

from __future__ import annotations

import msgspec

from engine.config.presets import save_preset
from engine.config.run_spec import RunSpec
from engine.config.spec_error import SpecError
from tui.dialogs.save_preset import SaveDialog
from tui.state.draft import Draft
from tui.text.translation import _, render


def save_dialog(draft: Draft) -> SaveDialog | None:
    """The dialog that saves the draft, or None while it has errors: a preset that is saved must load again."""
    spec, errors = draft.build()
    if spec is None or errors:
        return None
    sound: RunSpec = spec

    def save(name: str, description: str, overwrite: bool) -> tuple[str, bool]:
        named = msgspec.structs.replace(sound, name=name.strip(), description=description)
        try:
            save_preset(name, named, overwrite)
        except SpecError as error:
            # A name that would make a file is taken; any other wrong name is not helped by overwriting.
            taken = bool(name.strip(" -.")) and not overwrite
            return render(error.errors[0].message), taken
        except OSError as error:
            return _("The preset cannot be written: {reason}").format(reason=error.strerror or str(error)), False
        draft.settle(named)
        return "", False

    return SaveDialog(sound.name, sound.description, save)
