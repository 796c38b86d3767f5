"""The command line: what it refuses, what it opens, how fast it starts."""

from __future__ import annotations

import errno
import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from engine.config.paths import user_presets_folder
from engine.config.presets import save_preset
from engine.config.run_spec import RunSpec
from engine.messages import exit_codes as codes
from tui.cli import demo, main, presets, run, wizard
from tui.text.translation import language

CALL = "import sys; from tui.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "launch", lambda *_: pytest.fail("an engine was started"))


class FakeApp:
    """Replaces the wizard and records how it was opened."""

    opened: list[dict[str, object]] = []  # noqa: RUF012
    return_code = 0

    def __init__(self, **how: object) -> None:
        self.opened.append(how)

    def run(self) -> None: ...


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A terminal in which the wizard opens at once; the ways in which it was opened."""
    monkeypatch.setitem(sys.modules, "tui.app", types.SimpleNamespace(LorisApp=FakeApp))
    monkeypatch.setattr(wizard, "_all_terminals", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    FakeApp.opened = []
    return FakeApp.opened


def test_no_command_opens_the_wizard(opened: list[dict[str, object]], capsys: pytest.CaptureFixture[str]):
    assert main.main([]) == 0
    assert opened == [{"preset": None, "language": None, "start": "home"}]
    assert capsys.readouterr().err == "Loris is starting...\r\x1b[2K"


def test_a_preset_and_a_language(opened: list[dict[str, object]]):
    save_preset("mine", RunSpec())
    assert main.main(["--preset", "mine", "--lang", "zh"]) == 0
    assert opened == [{"preset": "mine", "language": "zh", "start": "home"}]
    assert language() == "zh"


def test_demo_opens_ready_to_start(opened: list[dict[str, object]]):
    assert main.main(["demo", "--lang", "zh"]) == 0
    assert main.main(["--lang", "zh", "demo"]) == 0  # it works before the command too
    assert opened == [{"preset": "demo", "language": "zh", "start": "review"}] * 2


def test_demo_without_a_terminal_trains(monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr(demo, "run_file", lambda path, use_cpu: asked.append(path) or 0)
    assert main.main(["demo"]) == 0
    assert asked[0].name == "demo.yaml"


def test_the_wizards_exit_code_is_returned(opened: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FakeApp, "return_code", 4)
    assert main.main([]) == 4


@pytest.mark.parametrize(("name", "words"), [("mnie", "Did you mean mine?"), ("zzzzz", "See: loris presets")])
def test_unknown_presets(
    opened: list[dict[str, object]], capsys: pytest.CaptureFixture[str], name: str, words: str
):
    save_preset("mine", RunSpec())
    assert main.main(["--preset", name]) == 2
    assert words in capsys.readouterr().err
    assert opened == []


def test_a_name_is_shown_and_not_interpreted(opened: list[dict[str, object]], capsys: pytest.CaptureFixture[str]):
    (save_preset("mine", RunSpec())).rename(user_presets_folder() / "\x1b]0;evil\x07.yaml")
    assert main.main(["--preset", "\x1b]0;evi\x07"]) == 2
    assert main.main(["presets"]) == 0
    out, err = capsys.readouterr()
    assert "evil" in out
    assert "\x1b" not in out + err
    assert opened == []


def test_a_broken_preset(opened: list[dict[str, object]], capsys: pytest.CaptureFixture[str]):
    path = save_preset("mine", RunSpec())
    path.write_text("lora:\n  r: 0\n")
    assert main.main(["--preset", "mine"]) == 2
    assert f"{path}:2: lora.r: Give a whole number" in capsys.readouterr().err
    assert main.main(["presets"]) == 0
    assert f"{path}:2: lora.r" in capsys.readouterr().err
    assert opened == []


def test_no_terminal(capsys: pytest.CaptureFixture[str]):
    assert main.main([]) == 2
    assert capsys.readouterr().err == "The wizard needs a terminal. Without one, use: loris run SPEC.yaml\n"


def test_a_dumb_terminal(
    opened: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TERM", "dumb")
    assert main.main([]) == 2
    assert "TERM=dumb" in capsys.readouterr().err
    assert opened == []


def test_a_real_dumb_terminal():
    """In a real pseudo-terminal, with nothing replaced."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CALL], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "dumb"}
    ) as process:
        os.close(slave)
        shown = os.read(master, 1000).decode()
        assert process.wait(20) == 2
    os.close(master)
    assert shown.startswith("This terminal cannot show the wizard")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["demo", "-h"], ["presets", "-h"], ["--version"]]
)
@pytest.mark.parametrize("code", ["en", "zh"])
def test_help(arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main.main(["--lang", code, *arguments])
    assert caught.value.code == 0
    assert "loris" in capsys.readouterr().out


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main.main(["run", "--help"])
    text = capsys.readouterr().out
    for code in (codes.COMPLETED, codes.FAILED, codes.BAD_INPUT, codes.STOPPED, codes.INTERRUPTED,
                 codes.TERMINATED):  # fmt: skip
        assert re.search(rf"^  {code} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [["--lang", "xx"], ["--lang"], ["fly"], ["run"], ["run", "a", "b"], ["--presett", "x"]]
)
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert "usage: loris" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"LANGUAGE": "zh_CN:en"}, "zh"),
        ({"LANGUAGE": "", "LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANGUAGE": "fr"}, "en"),
    ],
)
def test_the_locale_decides(variables: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main.main([]) == 2
    assert language() == code


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]):
    save_preset("mine", RunSpec(description="for \x1b[31mtests"))
    assert main.main(["presets"]) == 0
    out = capsys.readouterr().out
    assert "mine  " in out
    assert "for ␛[31mtests" in out


HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "textual", "rich", "asyncio", "ruamel")


def test_startup_imports_nothing_heavy():
    code = f"import sys, tui.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"[]"


@pytest.mark.parametrize(
    "module", ["tui.cli.run", "engine.runs.run_list", "engine.client.connection", "engine.preflight"]
)
def test_the_client_imports_no_training_library(module: str):
    code = f"import sys, {module}; print([m for m in {HEAVY[:6]!r} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"[]"


def test_a_terminal_that_is_not_utf8_gets_no_traceback():
    save_preset("mine", RunSpec(description="医生"))
    done = subprocess.run(
        [sys.executable, "-c", CALL, "presets"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"    ??" in done.stdout


def test_arguments_in_the_terminals_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python decodes them in UTF-8 mode. An existing file with such a name keeps it."""
    monkeypatch.chdir(tmp_path)
    typed = os.fsdecode("医生".encode("gbk"))
    assert (
        main._decode_argument(typed, "gbk")
        == main._decode_argument("医生", "gbk")
        == main._decode_argument("医生", None)
        == "医生"
    )
    assert main._decode_argument(typed, "ascii") == main._decode_argument(typed, None) == typed
    Path(typed).touch()
    assert main._decode_argument(typed, "gbk") == typed


def test_a_log_on_a_full_disk_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(presets, "list_presets", full)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert main.main(["presets"]) == 1
    assert "Nothing more can be written here: No space left on device" in capfd.readouterr().err
    monkeypatch.setattr(main._Version, "__call__", lambda *_: full())
    assert main.main(["--version"]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_nothing_is_imported_from_the_folder_in_which_loris_is_typed(tmp_path: Path) -> None:
    """A run folder from someone else, with modules in it, and a PYTHONPATH such as "$PYTHONPATH:/lib"."""
    (tmp_path / "engine").mkdir()
    for name in ("engine/__init__", "msgspec", "datasets", "argparse", "sqlite3"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)")
    for entries in ("", f":{tmp_path.parent}", ".", f"/nowhere:{os.curdir}"):
        done = subprocess.run(
            [Path(sys.executable).with_name("loris"), "--lang", "en", "presets"], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": entries}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "imported").exists(), entries


def test_an_input_without_its_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["chat", "nowhere", "--input", "1, 1, 2, 3"]) == codes.BAD_INPUT
    assert "--input: " in capsys.readouterr().err
