"""A run's name, model, dataset and method, in `summary.json` next to the spec: fast to read for hundreds."""

import hashlib
from contextlib import suppress
from typing import Any

import msgspec

from engine.config.files import read_bytes
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec, write_atomically
from engine.runs.folder import RunFolder

MAX_BYTES = 256 << 10  # of a spec whose values the list shows: parsing more would slow down every list


class SummaryFields(msgspec.Struct, frozen=True, kw_only=True):
    """Empty where the spec cannot be read. `spec_sha256`: of the spec.yaml that it was made from."""

    name: str = ""
    model: str = ""
    dataset: str = ""
    method: str = "sft"
    full_finetuning: bool = False
    spec_sha256: str


def write_run_spec(folder: RunFolder, spec: RunSpec) -> None:
    """Write a run's spec, with its summary. Raises OSError."""
    save_spec(folder.spec, spec)
    with suppress(OSError):  # the list falls back on the spec
        summary = SummaryFields(
            name=spec.name,
            model=spec.model.model_name,
            dataset=spec.dataset.path,
            method=spec.training.method,
            full_finetuning=spec.model.full_finetuning,
            spec_sha256=hashlib.sha256(folder.spec.read_bytes()).hexdigest(),
        )
        write_atomically(folder.summary, msgspec.json.encode(summary).decode())


def read_summary_fields(folder: RunFolder) -> SummaryFields:
    """The values in the spec, even if it was edited by hand after the summary was written."""
    try:
        spec = read_bytes(folder.spec, MAX_BYTES)
    except OSError:
        return SummaryFields(spec_sha256="")
    sha256 = hashlib.sha256(spec).hexdigest()
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        summary = msgspec.json.decode(read_bytes(folder.summary, MAX_BYTES), type=SummaryFields)
        if summary.spec_sha256 == sha256:
            return summary
    return _from_yaml(spec, sha256)


def _from_yaml(spec: bytes, sha256: str) -> SummaryFields:
    """For a spec of an older Loris, or edited by hand. Writes nothing: listing runs must not change a folder."""
    import yaml  # in C: 50 times as fast as ruamel, which keeps the comments

    def value(node: Any, *keys: str) -> str:
        for key in keys:
            node = next(below for name, below in node.value if name.value == key)
        return node.value if isinstance(node.value, str) and not node.tag.endswith(":null") else ""

    def optional(node: Any, *keys: str) -> str:
        try:
            return value(node, *keys)
        except StopIteration:
            return ""

    try:
        document = yaml.compose(spec, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return SummaryFields(
            name=optional(document, "name"),
            model=value(document, "model", "model_name"),
            dataset=value(document, "dataset", "path"),
            method=optional(document, "training", "method") or "sft",
            full_finetuning=optional(document, "model", "full_finetuning") == "true",
            spec_sha256=sha256,
        )
    except (yaml.YAMLError, StopIteration, ValueError, AttributeError, TypeError, RecursionError):
        return SummaryFields(spec_sha256=sha256)
