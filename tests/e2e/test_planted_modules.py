"""A run folder may come from someone else: no Python that Loris starts imports a module that lies in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.launch import launch, new_run
from engine.client.serving import serving
from engine.config.run_spec import RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.helpers.app_on_engine import LORIS
from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS, Client, with_changes
from tests.helpers.export_fixtures import export, exported_folder
from tests.helpers.short_run import small

# Of the libraries, of Python, and what it looks for when it starts: each would be found before the real one.
MODULES = ("torch", "unsloth", "datasets", "msgspec", "sitecustomize", "usercustomize", "argparse", "__future__")
PACKAGES = ("engine", "engine/proof", "engine/export", "triton", "unsloth_compiled_cache")


class Planted:
    """A run folder full of modules that leave their name in `marks` when they are imported."""

    def __init__(self, folder: RunFolder, marks: Path) -> None:
        self.folder, self._marks = folder, marks
        marks.mkdir()
        code = f"import sys\nopen({str(marks)!r} + '/' + __name__, 'w').write(str(sys.orig_argv))\n"
        files = [f"{name}.py" for name in MODULES]
        files += [f"{package}/{name}.py" for package in PACKAGES for name in ("__init__", "__main__")]
        for file in files:
            (folder.path / file).parent.mkdir(exist_ok=True)
            (folder.path / file).write_text(code)

    def imported(self) -> dict[str, str]:
        """The planted modules that were imported since the last call, and by which command."""
        found = {mark.name: mark.read_text() for mark in self._marks.iterdir()}
        for name in found:
            (self._marks / name).unlink()
        return found

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that is typed in the run folder, with nothing in PYTHONPATH that means this folder."""
        return subprocess.Popen(
            command, cwd=self.folder.path, env={**ENVIRONMENT, "LORIS_HOME": str(self.folder.path.parent)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def planted(demo: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    """PYTHONPATH has an empty entry for what Loris starts, as "$PYTHONPATH:/lib" often gives it."""
    place = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "LORIS_HOME": str(place), "PYTHONPATH": f":{ROOT}"}.items():
            patch.setenv(name, value)
        folder = new_run(small(demo, max_steps=2, save_steps=1, warmup_steps=0))
        planted = Planted(folder, place / "marks")
        yield planted
        if is_alive(folder):
            subprocess.run([LORIS, "stop", "--now"], capture_output=True, check=False)


def test_what_is_planted_would_be_found(planted: Planted) -> None:
    assert planted.start(sys.executable, "-c", "import torch, engine.proof").wait(TIMEOUT_SECONDS) == 0
    assert set(planted.imported()) == {"torch", "engine", "engine.proof"}


def test_a_run(planted: Planted) -> None:
    assert launch(planted.folder, "train", exit_when_done=True).wait(TIMEOUT_SECONDS) == 0, _log(planted)
    assert planted.imported() == {}


async def test_a_served_run_its_answers_and_exports(planted: Planted) -> None:
    async with serving(planted.folder, lambda *_: None, exports=True):
        client = Client(planted.folder)
        text, _ = client.chat("Who are you?", adapter=True)
        assert text
        exported_folder(export(client, kind="adapter", path=str(planted.folder.exports / "copy")))
        exported_folder(export(client, kind="merged_16bit"))  # which another process loads back
        client.close()
    assert planted.imported() == {}


def test_a_resumed_run(planted: Planted) -> None:
    wanted = with_changes(load_spec(planted.folder.spec), training={"max_steps": 3})
    save_spec(planted.folder.spec, wanted)
    assert launch(planted.folder, "resume", exit_when_done=True).wait(TIMEOUT_SECONDS) == 0, _log(planted)
    assert planted.imported() == {}


def test_data_is_proven_in_the_folder(planted: Planted) -> None:
    """The worker behind `loris data` and F7."""
    process = planted.start(str(LORIS), "data", str(planted.folder.spec))
    said = process.communicate(timeout=TIMEOUT_SECONDS)[0]
    assert process.returncode == 0, said
    assert planted.imported() == {}


def test_an_engine_started_by_hand_in_the_folder(planted: Planted) -> None:
    """What it imports itself. A planted engine/ is beyond its help: Python looks for it before it runs."""
    shutil.rmtree(planted.folder.path / "engine")
    process = planted.start(sys.executable, "-m", "engine", "nowhere")
    said = process.communicate(timeout=TIMEOUT_SECONDS)[0]
    assert process.returncode == 2, said
    assert said == f"{planted.folder.path}/nowhere: No such file or directory\n"
    assert planted.imported() == {}


def _log(planted: Planted) -> str:
    return planted.folder.log.read_text("utf-8")[-3000:]
