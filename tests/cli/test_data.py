"""`loris data`: what it prints for a person and for a script, and its exit codes; with a fake worker."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from rich.console import Console

from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol.data_report import ProofProgress
from tests.helpers.fake_prover import FAILED, MEASURING, REPORT, STOPPED, Answers, FakeProver
from tests.helpers.waiting import wait_for
from tui.cli import data
from tui.cli.data import show
from tui.cli.main import main
from tui.text import translation


@pytest.fixture
def file(tmp_path: Path, spec: RunSpec) -> Path:
    path = tmp_path / "spec.yaml"
    save_spec(path, spec)
    return path


def answering(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> FakeProver:
    prover = FakeProver(answers)

    class Told:
        def __init__(self) -> None:
            self.most_rows: int | None = -1

        def prove(self, spec: RunSpec, most_rows: int | None) -> object:
            prover.most_rows = most_rows  # type: ignore[attr-defined]
            return prover.prove(spec)

        def close(self) -> None:
            prover.close()

    monkeypatch.setattr(data, "ProofWorker", Told)
    return prover


def test_a_good_dataset_is_json_for_a_script(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    prover = answering(monkeypatch, lambda spec: (ProofProgress(stage="importing"), MEASURING, REPORT))
    assert main(["data", str(file)]) == 0
    printed = capsysbinary.readouterr()
    assert printed.err == b""  # no progress in a script's output
    found = json.loads(printed.out)
    assert found["rows"] == REPORT.rows
    assert found["why"].startswith('"question" and "answer"')
    assert found["at_length"]["rows_cut"] == 15
    assert found["examples"][0]["tokens"][0] == [0, "<|im_start|>user\n", False, True]
    assert prover.closed
    assert prover.most_rows == data.MOST_ROWS  # type: ignore[attr-defined]


@pytest.mark.parametrize(("option", "rows"), [(["--all"], None), (["--rows", "50"], 50)])
def test_how_many_rows_are_read(
    option: list[str], rows: int | None, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = answering(monkeypatch, lambda spec: (REPORT,))
    assert main(["data", str(file), *option]) == 0
    assert prover.most_rows == rows  # type: ignore[attr-defined]


def test_a_stop_is_one_line_and_exit_code_2(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    answering(monkeypatch, lambda spec: (STOPPED,))
    assert main(["data", str(file), "--json"]) == 2
    printed = capsysbinary.readouterr()
    stop, cut = json.loads(printed.out)["problems"]
    assert (stop["level"], stop["row"], stop["value"]) == ("stop", 3, '{"question": null}')
    assert stop["fixes"][0]["changes"] == {"dataset.drop_bad_rows": True}
    assert cut["level"] == "warning"
    (line,) = printed.err.decode().splitlines()  # the warning is not one
    assert line.startswith(f"{file}:")
    assert "dataset.output_column: Rows that cannot be learned: 2. The first: Row 3" in line


def test_what_cannot_be_measured(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, lambda spec: (FAILED,))
    assert main(["data", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "model.model_name: There is no model here: /models/[nope]" in lines[0]
    gone = msgspec.structs.replace(FAILED, field="", code="worker_gone")
    answering(monkeypatch, lambda spec: (gone,))
    assert main(["data", str(file)]) == 1  # not the input's fault


def test_an_invalid_spec_needs_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prover = answering(monkeypatch, lambda spec: (REPORT,))
    bad = tmp_path / "bad.yaml"
    bad.write_text("model:\n  max_seq_length: -3\n")
    assert main(["data", str(bad)]) == 2
    assert main(["data", str(tmp_path / "gone.yaml")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert f"{bad}:2: model.max_seq_length" in first
    assert "gone.yaml" in second
    assert not prover.asked


@pytest.mark.parametrize("width", [80, 120])
def test_a_person_sees_it_all(width: int) -> None:
    out = io.StringIO()
    evil = msgspec.structs.replace(STOPPED, path="[red]x[/red]\x1b]0;t\x07.jsonl")
    show(evil, Console(file=out, width=width, force_terminal=False))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert "[red]answer[/] is empty" in text  # shown, not interpreted
    assert "max_seq_length" in text
    assert "dataset.drop_bad_rows: True" in text
    assert all(len(line) <= width for line in text.splitlines())


def test_the_number_of_rows_is_approximate_only_when_not_counted() -> None:
    translation.set_language("en")
    counted = msgspec.structs.replace(REPORT, sampled=True, exact=True, rows_total=5_000_000, rows=100_000)
    assert "5 M rows, 100 k of them read" in data.facts(counted)[0]
    assert "about" not in data.facts(counted)[0]
    assert "about 5 M" in data.facts(msgspec.structs.replace(counted, exact=False))[0]


ENDS = """
import asyncio, gc
from engine.client.proof_worker import ProofWorker
from engine.config.run_spec import RunSpec

async def main():
    worker = ProofWorker()
    coming = worker.prove(RunSpec())
    await anext(coming)
    print(worker._process.pid)
    await coming.aclose()
    worker.close()

asyncio.run(main())
gc.collect()
"""


def has_ended(pid: int) -> bool:
    try:  # one that was not waited for is still listed
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_worker_ends_silently() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""  # nothing about a closed loop
    wait_for(lambda: has_ended(int(done.stdout)), what="it goes on without anybody to ask it")
