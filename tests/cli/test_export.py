"""`loris export` refuses in one line; with --rest, it carries out what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from engine.config.run_spec import ExportSpec, RunSpec
from engine.config.spec_files import load_spec, save_spec
from engine.protocol import events as ev
from engine.runs.checksums import damaged_files
from engine.runs.folder import RunFolder
from engine.runs.manifest import seal_export
from engine.runs.run_list import is_alive
from tests.helpers.run_events import STARTED, finished, write_run
from tui.cli.main import main


def test_the_command_refuses_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*options: str) -> str:
        assert main(["export", *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        return err

    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_text("{}")
    assert 'There is no run "gone"' in refused("gone", "--adapter")
    assert refused(str(run), "--adapter").startswith("The run run has no trained model.")
    (run / "spec.yaml").write_text("model: [")
    assert refused(str(run), "--adapter").startswith(f"{run / 'spec.yaml'}:1: ")
    (run / "spec.yaml").write_text("{}")
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text("{}")
    assert "--gguf q4_k_m" in refused(str(run))
    assert refused(str(run), "--gguf", "q9").startswith("--gguf: ")
    assert refused(str(run), "--gguf", "q8_0", "--llama-cpp", str(tmp_path / "no")).startswith("--llama-cpp: ")
    (tmp_path / "file").write_text("mine")
    assert refused(str(run), "--adapter", "--to", str(tmp_path / "file")).startswith("--to: ")


def test_a_damaged_earlier_export_is_not_reported_as_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, target = RunFolder(tmp_path / "run"), tmp_path / "out"
    for folder in (run.adapter, target):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_text("weights")
    run.spec.write_text("{}")
    saved = [
        ev.Exported(kind="adapter", path=str(path), total_bytes=9, seconds=1, adapter_sha256="abc")
        for path in (run.adapter, target)
    ]
    run.events.write_bytes(b"".join(ev.encode(one) for one in saved))
    seal_export(target)
    assert damaged_files(target) == []
    (target / "adapter_model.safetensors").write_text("wei")
    (target / "adapter_config.json").unlink()
    assert damaged_files(target) == ["adapter_config.json", "adapter_model.safetensors"]
    assert damaged_files(target, ".safetensors") == ["adapter_model.safetensors"]
    assert main(["export", str(run.path), "--adapter", "--to", str(target)]) == 2
    assert "--overwrite: " in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def undelivered(folder: RunFolder) -> RunFolder:
    """A trained run whose merged model is missing."""
    spec = load_spec(folder.spec)
    save_spec(folder.spec, msgspec.structs.replace(spec, export=ExportSpec(merged_16bit=True)))
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text("{}")
    saved = ev.Exported(kind="adapter", path=str(folder.adapter), total_bytes=9, seconds=1, adapter_sha256="abc")
    write_run(folder, STARTED, finished("completed"), saved, ev.Undelivered(missing=("merged_16bit",)))
    return folder


@pytest.mark.parametrize(("play", "code"), [("complete", 0), ("undelivered", 4)])
@pytest.mark.parametrize("as_json", [False, True])
def test_the_rest_is_carried_out_by_one_command(
    undelivered: RunFolder,
    fake_engine: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    play: str,
    code: int,
    as_json: bool,
) -> None:
    fake_engine.setenv("FAKE_PLAY", play)
    assert main(["export", undelivered.name, "--rest", *(["--json"] if as_json else [])]) == code
    out, err = (text.decode() for text in capfdbinary.readouterr())
    if as_json:
        types = [json.loads(line)["type"] for line in out.splitlines()]
        assert "Progress" in types
        assert ("Exported" in types) == (code == 0)
    elif code:
        assert f"loris export {undelivered.name} --rest" in err
    else:
        assert "Missing: merged_16bit" in err
        assert out.splitlines()[-1] == "Everything that the spec asks for is done."
    assert not is_alive(undelivered), "the engine ends with the command"


def test_no_engine_starts_when_nothing_is_missing(
    undelivered: RunFolder, fake_engine: object, capsys: pytest.CaptureFixture[str]
) -> None:
    save_spec(undelivered.spec, RunSpec())
    with undelivered.events.open("ab") as file:
        file.write(ev.encode(ev.Undelivered()))
    assert main(["export", undelivered.name, "--rest"]) == 0
    assert "Everything that the spec asks for is done." in capsys.readouterr().out
    assert not undelivered.log.exists()
