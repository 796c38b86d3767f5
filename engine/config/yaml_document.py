"""A spec file as a YAML document, with comments and line numbers. Import it late: ruamel takes 100 ms."""

import io
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.composer import Composer, ComposerError, MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import LiteralScalarString

from engine.config.fields import FieldError
from engine.config.spec_error import SpecError
from engine.messages.message import Message, say

# The limits of a spec file. A parser that keeps comments and lines is slow, and anybody's preset is read.
MAX_BYTES = 512 << 10
MAX_VALUES = 2000  # also counting what aliases repeat: nested ones can expand to billions
MAX_NODES = 2 * MAX_VALUES  # keys, values and aliases, counted while parsing
MAX_DEPTH = 30

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


class _Composer(Composer):
    """Stops after MAX_NODES, which a spec never has: more would take minutes."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # a warning would be printed over the wizard
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ComposerError(None, None, "too many values", self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


class _Constructor(RoundTripConstructor):
    """Reports every failure as one of the parser's, with its line."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:  # such as a KeyError for `!!bool maybe`
            value = repr(node.value)[:40] if isinstance(node, ScalarNode) else "this"
            reason = f"{value} is not of the type {str(node.tag).rpartition(':')[2]}"
            raise ConstructorError(None, None, reason, node.start_mark) from error


def _yaml() -> YAML:
    """A YAML 1.2 reader and writer that keeps comments and line numbers."""
    yaml = YAML(typ="rt")
    yaml.max_depth = MAX_DEPTH
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    yaml.Representer = _Representer
    yaml.width = 4096  # never fold long lines
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def empty() -> CommentedMap:
    """An empty document."""
    return CommentedMap()


def read(path: Path) -> CommentedMap:
    """Parse a YAML file into a mapping. Raises `SpecError` naming the file and the line, whatever the file has."""
    data = _read_bytes(path)
    try:
        document = _yaml().load(data.decode("utf-8-sig"))
        _check_size(document)
    except UnicodeDecodeError:
        raise _refused(path, say("This file is not UTF-8 text.")) from None
    except (MaxDepthExceededError, RecursionError) as error:
        raise _refused(path, say("This file is nested too deeply for a run spec."), _line(error)) from None
    except Exception as error:  # the parser's own errors, and what it does not expect
        reason = (getattr(error, "problem", "") or str(error) or type(error).__name__).splitlines()[0]
        line = _line(error)
        if line is None and isinstance(error, ReaderError):
            line = data[: error.position].count(b"\n") + 1
        raise _refused(path, say("This is not valid YAML: {reason}.", reason=reason), line) from None
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap):
        raise _refused(path, say("A run spec is a mapping of settings, such as model: and training:."))
    return document


def _read_bytes(path: Path) -> bytes:
    """The content of a file that is neither empty nor too large. Raises `SpecError`."""
    try:
        # Without waiting for the other end of a FIFO, which is refused below.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refused(path, say("This is not a file."))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, say("There is no such file.")) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(path, say("This file cannot be read: {reason}.", reason=reason)) from None
    if len(data) > MAX_BYTES:
        raise _refused(path, say("This file is too large for a run spec."))
    if not data.strip():  # left by a crash: it must not start a run with all defaults
        raise _refused(path, say("This file is empty."))
    return data


def _refused(path: Path, message: Message, line: int | None = None) -> SpecError:
    return SpecError(path, [FieldError("", message, line)])


def _line(error: BaseException) -> int | None:
    """The line, from 1, that a parser's error is about."""
    if not isinstance(error, MarkedYAMLError):
        return None
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else None


def _check_size(document: Any) -> None:
    """Raises `ValueError` if there are too many values for a spec, counting what aliases repeat and nest."""
    open_nodes, values = [(document, 0)], 0
    while open_nodes:
        node, depth = open_nodes.pop()
        parts = list(node.values()) if isinstance(node, Mapping) else node if isinstance(node, list) else ()
        values += len(parts)
        if values > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError("too many values")
        open_nodes.extend((part, depth + 1) for part in parts)


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
        if (place := (node.lc.data or {}).get(key)) is None:  # it comes from a merge key
            break
        line = place[0] + 1
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
