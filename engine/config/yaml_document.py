"""A spec file as a YAML document, with comments and line numbers. Import it late: ruamel takes 100 ms."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import LiteralScalarString

from engine.config.fields import FieldError
from engine.config.spec_error import SpecError
from engine.messages.message import say

MAX_BYTES = 4 << 20  # bytes of a spec file: YAML is parsed at about 2 MB per second
MAX_VALUES = 2000  # in a spec: nested aliases can expand to billions

# Characters that a YAML block loses or does not allow: texts with them are quoted, with escapes.
_NOT_IN_A_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


class _Representer(RoundTripRepresenter):
    """Writes numbers so that every YAML reader parses them as numbers."""


def _float_with_point(representer: _Representer, value: float) -> ScalarNode:
    """1e-05 as 1.0e-05: without the point, YAML 1.1 readers such as PyYAML parse it as text."""
    node: ScalarNode = representer.represent_float(value)
    if "." not in node.value:
        node.value = node.value.replace("e", ".0e")
    return node


_Representer.add_representer(float, _float_with_point)


def _yaml() -> YAML:
    """A YAML 1.2 reader and writer that keeps comments and line numbers."""
    yaml = YAML(typ="rt")
    yaml.Representer = _Representer
    yaml.width = 4096  # never fold long lines
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def empty() -> CommentedMap:
    """An empty document."""
    return CommentedMap()


def read(path: Path) -> CommentedMap:
    """Parse a YAML file into a mapping. Raises `SpecError` naming the file and the line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SpecError(path, [FieldError("", say("This file is too large for a run spec."))])
        if not data.strip():  # left by a crash: it must not start a run with all defaults
            raise SpecError(path, [FieldError("", say("This file is empty."))])
        document = _yaml().load(data.decode("utf-8-sig"))
        _check_size(document)
    except FileNotFoundError:
        raise SpecError(path, [FieldError("", say("There is no such file."))]) from None
    except OSError as error:
        raise SpecError(
            path, [FieldError("", say("This file cannot be read: {reason}.", reason=error.strerror))]
        ) from None
    except UnicodeDecodeError:
        raise SpecError(path, [FieldError("", say("This file is not UTF-8 text."))]) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        reason = (error.problem or str(error)).splitlines()[0]
        raise SpecError(
            path, [FieldError("", say("This is not valid YAML: {reason}.", reason=reason), line)]
        ) from None
    except RecursionError:
        raise SpecError(path, [FieldError("", say("This file is nested too deeply for a run spec."))]) from None
    except (YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(path, [FieldError("", say("This is not valid YAML: {reason}.", reason=reason))]) from None
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise SpecError(
            path,
            [FieldError("", say("A run spec is a mapping of settings, such as model: and training:."))],
        )
    return document


def _check_size(document: Any) -> None:
    """Raises `ValueError` if there are too many values for a spec, counting what aliases repeat."""
    open_nodes, values = [document], 0
    while open_nodes:
        node = open_nodes.pop()
        parts = list(node.values()) if isinstance(node, Mapping) else node if isinstance(node, list) else ()
        values += len(parts)
        if values > MAX_VALUES:
            raise ValueError("too many values")
        open_nodes.extend(parts)


def to_plain_values(node: Any) -> Any:
    """The same values as built-in types, without the comments and notation that the parser's types carry."""
    if isinstance(node, Mapping):
        return {key: to_plain_values(value) for key, value in node.items()}
    if isinstance(node, list):
        return [to_plain_values(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def line_of(document: CommentedMap, field: str) -> int | None:
    """The line, from 1, of a dotted field; the line of its section if the field is not set."""
    node: Any = document
    line = None
    for name in field.split("."):
        # A key may be a number in YAML, but is text in the field's name.
        key = next((key for key in node if str(key) == name), None) if isinstance(node, CommentedMap) else None
        if key is None:
            break
        line = node.lc.key(key)[0] + 1
        node = node[key]
    return line


def _as_block(value: Any) -> Any:
    """A value to write; multi-line texts as a YAML block, so that a prompt can be read and edited."""
    if isinstance(value, str) and "\n" in value and not _NOT_IN_A_BLOCK.search(value):
        return LiteralScalarString(value)
    return value


def update(document: CommentedMap, values: Mapping[str, Any]) -> None:
    """Set these values in place. Unchanged values keep their notation and comments."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(document.get(key), CommentedMap):
                document[key] = CommentedMap()
            update(document[key], value)
        elif key not in document or document[key] != value:
            document[key] = _as_block(value)


def dump(document: CommentedMap) -> str:
    """The document as text."""
    text = io.StringIO()
    _yaml().dump(document, text)
    return text.getvalue()
