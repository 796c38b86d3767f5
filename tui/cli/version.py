"""The text of `loris --version`: the version, the tested library versions, and those that differ here."""

from importlib.metadata import version

from engine.preflight.tested_versions import tested_versions, untested_versions
from tui.text.translation import _


def version_lines() -> list[str]:
    """A few lines, the first always `loris` and the version."""
    tested = {name: " / ".join(versions) for name, versions in tested_versions().items()}
    others = [
        _("{library} {here} (tested {tested})").format(library=name, here=here, tested=tested[name])
        for name, here in untested_versions().items()
    ]
    return [
        f"loris {version('loris-tui')}",
        _("tested with {libraries}").format(libraries=", ".join(" ".join(pair) for pair in tested.items())),
        _("here: {libraries}").format(libraries=", ".join(others)) if others else _("here: the same versions"),
    ]
