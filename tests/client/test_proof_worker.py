"""The dataset check worker as a process: it answers, is cancelled, reports errors; and `loris data`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.client import proof_worker
from engine.client.proof_worker import ProofWorker
from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.protocol.data_report import AnyProof, DataReport, ProofFailed, ProofProgress
from tests.helpers.engine_process import ENVIRONMENT, TIMEOUT_SECONDS, with_changes

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUICK = 10.0  # seconds; a worker that must import Unsloth first takes longer


@pytest.fixture(scope="module")
def command(
    demo: RunSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """`loris data` on a file with a broken line, with a worker of its own."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n' * 3 + '{"question": "Half\n')
    save_spec(folder / "spec.yaml", with_changes(demo, dataset={"path": str(folder / "rows.jsonl")}))
    code = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--lang", "en", "data", str(folder / "spec.yaml")],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield folder / "spec.yaml", process
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[ProofWorker]:
    worker = ProofWorker()
    yield worker
    worker.close()


@pytest.fixture
def spec_for(demo: RunSpec, tmp_path: Path) -> Callable[..., RunSpec]:
    def make(rows: int = 3, name: str = "rows.jsonl", **model: Any) -> RunSpec:
        path = tmp_path / name
        lines = [{"instruction": f"What is {n} + 1?", "output": f"It is {n + 1}. " * 8} for n in range(rows)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return with_changes(demo, dataset={"path": str(path)}, model=model)

    return make


async def answers(worker: ProofWorker, spec: RunSpec) -> list[AnyProof]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return [answer async for answer in worker.prove(spec)]


async def test_progress_comes_before_the_report(worker: ProofWorker, spec_for: Any) -> None:
    *before, report = await answers(worker, spec_for())
    assert isinstance(report, DataReport)
    assert (report.rows, report.rows_total, report.stops) == (3, 3, ())
    stages = [answer.stage for answer in before if isinstance(answer, ProofProgress)]
    assert list(dict.fromkeys(stages)) == ["importing", "tokenizer", "reading", "measuring"]
    assert worker.running


async def test_next_request_uses_the_warm_worker(worker: ProofWorker, spec_for: Any) -> None:
    await answers(worker, spec_for())  # warms it up if this test runs alone
    started = time.monotonic()
    *before, report = await answers(worker, spec_for(rows=5))
    assert isinstance(report, DataReport)
    assert report.rows == 5
    assert "importing" not in [answer.stage for answer in before if isinstance(answer, ProofProgress)]
    assert time.monotonic() - started < QUICK


async def test_dropped_request_stops_measuring(worker: ProofWorker, spec_for: Any) -> None:
    long, short = spec_for(rows=60_000, name="long.jsonl"), spec_for(rows=2, name="short.jsonl")
    measured = 0
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async with aclosing(worker.prove(long)) as coming:
            async for answer in coming:
                assert isinstance(answer, ProofProgress)
                if answer.stage == "measuring":
                    measured = answer.done
                    break
    assert 0 < measured < 60_000
    started = time.monotonic()
    *_, report = await answers(worker, short)
    assert isinstance(report, DataReport)
    assert report.rows == 2
    assert time.monotonic() - started < QUICK


async def test_missing_model_is_reported(worker: ProofWorker, spec_for: Any, tmp_path: Path) -> None:
    *_, failed = await answers(worker, spec_for(model_name=str(tmp_path / "nowhere")))
    assert isinstance(failed, ProofFailed)
    assert failed.field == "model.model_name"
    assert str(failed.message)


async def test_killed_worker_is_reported(worker: ProofWorker, spec_for: Any) -> None:
    process = await worker._started()
    coming = worker.prove(spec_for(rows=60_000))
    async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(coming):
        assert isinstance(await anext(coming), ProofProgress)
        os.kill(process.pid, signal.SIGKILL)
        *_, last = [answer async for answer in coming]
    assert isinstance(last, ProofFailed)
    assert last.code == "worker_gone"
    assert not worker.running


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sys; print('Loading', file=sys.stderr); sys.exit('ImportError: no libfoo.so')",
         "(exit code 1): Loading\nImportError: no libfoo.so"),
        ("import os; os._exit(3)", "It ended with code 3 and printed nothing."),
        ("import os; os.kill(os.getpid(), 9)", "memory runs out"),
        ("import sys; sys.stderr.write('x' * 3_000_000 + '\\rlast\\n'); sys.exit(4)", "last"),
    ],
)  # fmt: skip
async def test_a_workers_last_words_are_shown(
    spec_for: Any, monkeypatch: pytest.MonkeyPatch, code: str, expected: str
) -> None:
    """Not "the memory most likely ran out"."""
    monkeypatch.setattr(proof_worker, "python", lambda *_: [sys.executable, "-c", code])
    worker = ProofWorker()
    (failed,) = await answers(worker, spec_for())
    worker.close()
    assert isinstance(failed, ProofFailed)
    assert failed.hint is not None
    assert expected in str(failed.hint)
    assert len(str(failed.hint)) < 5000
    assert ("memory" in str(failed.hint)) == ("kill" in code)


@pytest.mark.slow  # its own worker imports Unsloth; tests/cli/test_data.py uses a fake
async def test_the_command_prints_json_and_ends_with_2_on_a_stop(
    command: tuple[Path, subprocess.Popen[str]],
) -> None:
    file, process = command
    out, err = await asyncio.to_thread(process.communicate, timeout=TIMEOUT_SECONDS)
    assert process.returncode == 2, err
    found = json.loads(out)
    (stop,) = [problem for problem in found["problems"] if problem["level"] == "stop"]
    assert (stop["code"], stop["row"], stop["count"]) == ("rows_bad", 4, 1)
    assert stop["fixes"][0]["changes"] == {"dataset.drop_bad_rows": True}
    assert found["rows_total"] == 4
    assert found["at_length"]["rows_cut"] == 0
    (line,) = err.splitlines()
    assert line.startswith(f"{file}:")
    assert stop["message"] in line
