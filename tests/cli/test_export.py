"""`loris export` refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import events as ev
from engine.runs.checksums import damaged_files
from engine.runs.folder import RunFolder
from engine.runs.manifest import seal_export
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
    assert refused(str(run), "--adapter").startswith("The run run has no trained adapter.")
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
