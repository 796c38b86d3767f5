"""A run with a Chinese name and Chinese paths, from `loris run` to an export, where the locale is not UTF-8."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file

from engine.config.run_spec import RunSpec
from engine.config.spec_files import save_spec
from engine.messages.message import Message
from engine.protocol import events as ev
from engine.runs import manifest
from engine.runs.checksums import damaged_files
from engine.runs.folder import RunFolder
from engine.runs.run_list import is_alive
from tests.helpers.app_on_engine import LORIS
from tests.helpers.engine_process import ENVIRONMENT, ROOT, TIMEOUT_SECONDS, with_changes
from tests.helpers.short_run import small

SOURCES = {"zh_CN.GBK": "zh_CN", "en_US.ISO-8859-1": "en_US"}  # what localedef makes them of
LOCALES = (*SOURCES, "C")
GBK = "zh_CN.GBK"


class Terminal:
    """The command `loris` under a locale, with files and folders of its own."""

    def __init__(self, place: Path, locales: Path, name: str) -> None:
        self.place = place / "数据 文件"
        self.encoding = name.partition(".")[2] or "utf-8"
        self.printed, self.code = b"", 0  # of `loris run`
        self.environment = {
            **ENVIRONMENT, "LOCPATH": str(locales), "LC_ALL": name, "LORIS_HOME": str(self.place / "家"),
        }  # fmt: skip
        for variable in ("LANGUAGE", "PYTHONUTF8", "PYTHONIOENCODING"):
            self.environment.pop(variable, None)

    @property
    def folder(self) -> RunFolder:
        (path,) = (self.place / "家" / "runs").iterdir()
        return RunFolder(path)

    def start(self, *words: str | bytes) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [LORIS, *words], env=self.environment, cwd=self.place, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def say(self, *words: str | bytes) -> str:
        """What a command prints that ends well, as a terminal with this encoding shows it."""
        return self.end(self.start(*words))

    def end(self, process: subprocess.Popen[bytes]) -> str:
        text = process.communicate(timeout=TIMEOUT_SECONDS)[0].decode(self.encoding)
        assert process.returncode == 0, text
        assert "Traceback" not in text
        return text

    def events(self) -> list[ev.AnyEvent]:
        lines = self.folder.events.read_text("utf-8").splitlines()
        return [event for line in lines if (event := ev.decode(line.encode()))]


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locales, made here: a machine need not have them."""
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef") or not Path("/usr/share/i18n/charmaps/GBK.gz").exists():
        pytest.skip("locales cannot be made here: install the package locales")
    for name, source in SOURCES.items():
        command = ["localedef", "-i", source, "-f", name.partition(".")[2], str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def terminals(
    locales: Path, demo: RunSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Terminal]]:
    """The run under each locale, all at once, when they have ended."""
    found, started = {}, {}
    for name in LOCALES:
        terminal = found[name] = Terminal(tmp_path_factory.mktemp("place"), locales, name)
        terminal.place.mkdir()
        with open(ROOT / "presets/demo/identity.jsonl", encoding="utf-8") as rows:
            (terminal.place / "问答.jsonl").write_text("".join(islice(rows, 20)), "utf-8")
        shutil.copytree(ROOT / "presets/demo/model", terminal.place / "模型")
        spec = with_changes(
            small(demo, max_steps=2, save_steps=1, warmup_steps=0),
            model={"model_name": str(terminal.place / "模型")},
            dataset={"path": str(terminal.place / "问答.jsonl")},
        )
        save_spec(terminal.place / "规格.yaml", msgspec.structs.replace(spec, name="测试"))
        started[name] = terminal.start("run", "规格.yaml")
    try:
        yield {name: _ended(found[name], process) for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
        for terminal in found.values():
            for path in (terminal.place / "家" / "runs").glob("*"):
                if is_alive(RunFolder(path)):
                    subprocess.run(
                        [LORIS, "stop", "--now"], env=terminal.environment, capture_output=True, check=False
                    )


def _ended(terminal: Terminal, process: subprocess.Popen[bytes]) -> Terminal:
    terminal.printed = process.communicate(timeout=TIMEOUT_SECONDS)[0]
    terminal.code = process.returncode
    return terminal


@pytest.mark.parametrize("name", LOCALES)
def test_it_trains_to_the_end_and_is_saved(terminals: dict[str, Terminal], name: str) -> None:
    terminal = terminals[name]
    events = terminal.events()
    log = terminal.folder.log.read_text("utf-8")
    assert terminal.code == 0, (terminal.printed, log[-2000:])
    assert isinstance(events[-1], ev.EngineEnded)
    assert events[-1].exit_code == 0
    (saved,) = (event for event in events if isinstance(event, ev.Exported))
    assert saved.path == str(terminal.folder.adapter)
    assert "测试" in saved.path
    assert load_file(terminal.folder.adapter / "adapter_model.safetensors")
    assert damaged_files(terminal.folder.adapter) == []
    newest = manifest.newest_checkpoint(terminal.folder.checkpoints)
    assert newest
    assert newest.step == 2
    notices = [event.message for event in events if isinstance(event, ev.Notice)]
    assert notices
    assert all(isinstance(message, Message) and "\ufffd" not in str(message) for message in notices)


@pytest.mark.parametrize("name", LOCALES)
def test_commands_speak_the_terminals_encoding(terminals: dict[str, Terminal], name: str) -> None:
    terminal = terminals[name]
    shown = "测试" if name != "en_US.ISO-8859-1" else "??"  # which knows no Chinese
    assert shown in terminal.printed.decode(terminal.encoding)
    assert shown in terminal.say("ls")
    assert shown in terminal.say("status", "测试")  # typed as the bytes of its folder


def test_words_typed_in_the_terminals_encoding_are_understood(terminals: dict[str, Terminal]) -> None:
    terminal = terminals[GBK]
    assert "测试" in terminal.say("status", "测试".encode("gbk"))


def test_it_is_resumed_and_exported(terminals: dict[str, Terminal]) -> None:
    terminal = terminals[GBK]
    assert "测试" in terminal.say("resume", "测试".encode("gbk"), "--set", "training.max_steps=3")
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while not any(isinstance(event, ev.StageChanged) and event.stage == "serving" for event in terminal.events()):
        assert time.monotonic() < give_up, terminal.folder.log.read_text("utf-8")[-2000:]
        time.sleep(0.2)
    said = terminal.say("export", "测试", "--merged-16bit", "--to", "导出".encode("gbk"))
    (merged,) = (event for event in terminal.events() if isinstance(event, ev.Exported) and "导出" in event.path)
    assert merged.path in said
    assert damaged_files(Path(merged.path)) == []
    assert any(isinstance(event, ev.TrainingFinished) and event.steps == 3 for event in terminal.events())
