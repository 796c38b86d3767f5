"""The proof of every dataset of the table: it accepts and rejects the same ones as the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # noqa: F401  first: it patches the others
# isort: on

import pytest

from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.messages.errors import UserError
from engine.proof.prove import prove
from engine.proof.tokenizers import TokenizerCache
from engine.protocol.data_report import DataReport
from tests.helpers.dataset_cases import BAD, GOOD, Case
from tests.helpers.engine_process import with_changes


@pytest.fixture(scope="module")
def tokenizers() -> TokenizerCache:
    return TokenizerCache()


@pytest.fixture
def proof_of(demo: RunSpec, tokenizers: TokenizerCache, tmp_path: Path) -> Callable[..., DataReport]:
    def make(case: Case, max_rows: int | None = None) -> DataReport:
        folder = tmp_path / "case"
        if not folder.exists():
            folder.mkdir()
            case.write(folder)
        spec = with_changes(
            demo, dataset={**case.settings, "path": str(folder / case.path)}, model={"max_seq_length": 1 << 20}
        )
        save_spec(folder / ".spec.yaml", spec)
        return prove(load_spec(folder / ".spec.yaml"), tokenizers, lambda progress: None, lambda: False, max_rows)

    return make


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_dataset_has_no_stop(case: Case, proof_of: Any) -> None:
    report = proof_of(case)
    assert report.stops == ()
    assert report.format == case.kind
    assert report.exact
    assert sum(rows for _, rows in report.lengths) == case.rows or case.settings
    first = next(row for row in report.examples if row.error is None)
    text = first.text.removeprefix("<s>")
    assert text == case.text[: len(text)]
    assert len(text) > 19_000 or text == case.text
    if len(first.tokens) == first.length:
        assert first.tokens[-1].text == report.eos_token
        assert report.eos_token in [token.text for token in first.tokens if token.learned][-3:]
        shown = "".join(token.text for token in first.tokens).removeprefix("<s>")
        assert shown.replace(" ", "").startswith(case.text.replace(" ", ""))  # the trainer may add an EOS token
    assert sorted(one.part for one in report.lacking) == sorted(case.lacks)
    left_out = report.empty_rows + report.bad_rows
    assert left_out == case.dropped or case.settings
    sampled = proof_of(case, 1)
    assert sampled.rows <= 1 or case.settings.get("mix")


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_dataset_is_a_stop_with_a_message(case: Case, proof_of: Any) -> None:
    field, words = case.error
    problems: list[tuple[str, str, str]]
    try:
        report = proof_of(case)
    except UserError as refused:
        problems = [(refused.code, refused.field, str(refused.message))]
    else:
        problems = [(stop.code, stop.field, str(stop.message)) for stop in report.stops]
    assert problems
    assert all(message for _, _, message in problems)
    assert problems[0][0] == "dataset_empty" or any(at == field and words in message for _, at, message in problems)
