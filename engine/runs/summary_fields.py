"""What a run is about, read quickly: the list of runs looks at hundreds of specs, and each takes 5 ms to parse."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from engine.runs.folder import RunFolder

Subject = tuple[str, str, str]
UNKNOWN: Subject = ("", "", "")
# As Loris writes them: the key at the start of a line, or two spaces in below its section.
_WANTED = (("", "name"), ("model", "model_name"), ("dataset", "path"))
_SIMPLE = re.compile(
    r"[\w./~+@][\w./~+@ -]*"
)  # what YAML takes as it stands, unless it is a number, a word for none …
_SPECIAL = re.compile(r"[\d.+-]|(?i:null|true|false|yes|no|on|off|y|n|~)$")


def read_summary_fields(folder: RunFolder) -> Subject:
    """(the run's own name, model, dataset) as the spec has them; empty where it cannot be read."""
    try:
        return _read(str(folder.spec), folder.spec.stat().st_mtime_ns)
    except OSError:
        return UNKNOWN


@lru_cache(maxsize=4096)
def _read(path: str, _changed: int) -> Subject:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except ValueError:
        return UNKNOWN
    return _by_lines(text) or _by_yaml(text)


def _by_lines(text: str) -> Subject | None:
    """From three lines of a spec as Loris writes it; None where it is not as plain as that."""
    found = []
    for section, key in _WANTED:
        start = 0
        if section:
            at = re.search(rf"^{section}: *\n", text, re.MULTILINE)
            if at is None:
                return None
            start = at.end()
        line = re.compile(rf"^{'  ' if section else ''}{key}: +(.*)\n(?!{'   ' if section else ' '})", re.MULTILINE)
        match = line.search(text, start)
        # The next section begins at the margin: what is found below it is another one's.
        if match is None or (section and re.search(r"^\S", text[start : match.start()], re.MULTILINE)):
            return None
        value = match[1].strip()
        if value in ("''", '""'):
            value = ""
        elif not _SIMPLE.fullmatch(value) or _SPECIAL.match(value):
            return None
        found.append(value)
    return found[0], found[1], found[2]


def _by_yaml(text: str) -> Subject:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # The quick reader: comments and line numbers are of no use here.
        values = YAML(typ="safe").load(text)
        return (
            str(values.get("name") or ""),
            str(values["model"]["model_name"]),
            str(values["dataset"]["path"]),
        )
    except (YAMLError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return UNKNOWN
