"""Saving without a model: whole or not at all, given up, sizes, llama.cpp, the heads of GGUF files."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from engine.config.quantizations import ALIASES, NEEDS_IMATRIX, QUANTIZATIONS, QuantizationName, named, wrong
from engine.export.atomic_folder import filling, remove_stale
from engine.export.cancellation import Cancelled, ToolFailed, cancellable, run_tool
from engine.export.gguf_header import NotGguf, read_head
from engine.export.llama_cpp import find_llama_cpp, look_at
from engine.export.plan import plan, reusable
from engine.export.tool_errors import explain_tool_error
from engine.messages.errors import UserError
from engine.protocol import events as ev
from engine.protocol.state import RunState, fold
from engine.runs.checksums import CHECKSUMS, damaged, write_checksums
from engine.runs.folder import RunFolder
from tui.cli.main import main

CARD = ev.Device(kind="cuda", name="T4", total_bytes=16 << 30)
CPU = ev.Device(kind="cpu", name="CPU", total_bytes=16 << 30)


def state_of(parameters: int = 10**6, device: ev.Device = CARD, *more: ev.AnyEvent) -> RunState:
    loaded = ev.ModelLoaded(
        model_name="m", parameters=parameters, dtype="float16", load_in_4bit=True, device=device, reserved_bytes=0
    )
    saved = ev.Exported(kind="adapter", path="a", total_bytes=1000, seconds=1, adapter_sha256="abc")
    return fold([loaded, saved, *more])


# Quantisations


def test_the_quantisations_are_unsloths() -> None:
    spec = importlib.util.find_spec("unsloth")
    assert spec
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "save.py").read_text("utf-8")
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)  # type: ignore[attr-defined]
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and getattr(node.targets[0], "id", "") in ("ALLOWED_QUANTS", "IMATRIX_QUANTS")
    }
    assert set(tables["ALLOWED_QUANTS"]) == set(QUANTIZATIONS) | set(ALIASES)
    assert set(tables["IMATRIX_QUANTS"]) == set(NEEDS_IMATRIX)
    assert get_args(QuantizationName) == tuple(QUANTIZATIONS)


def test_names_are_taken_once_and_by_their_aliases() -> None:
    assert named(("Q4_K_M", "quantized", " f16 ")) == ("q4_k_m", "f16")
    assert "q4_k_m" in str(wrong(()))
    assert "q9" in str(wrong(("q9",)))
    assert "importance matrix" in str(wrong(("iq2_xs",)))


# Whole or not at all


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with filling(target) as folder:
        (folder / "weights").write_text("w")
        assert not target.exists()
        assert folder.parent == target.parent
    assert [path.name for path in target.iterdir()] == ["weights"]

    def fail(error: BaseException, replace: bool) -> None:
        with filling(target, replace=replace) as folder:
            (folder / "half").write_text("h")
            raise error

    with pytest.raises(OSError, match="full"):
        fail(OSError("full"), True)
    with pytest.raises(Cancelled):
        fail(Cancelled(), True)
    with pytest.raises(UserError, match="already"):
        fail(OSError("never gets there"), False)
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["weights"]
    with filling(target, replace=True) as folder:
        (folder / "newer").write_text("n")
    assert [path.name for path in target.iterdir()] == ["newer"]


def test_what_a_killed_engine_left_is_told_apart_and_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom engine.export.atomic_folder import filling\n"
        "with filling(Path(sys.argv[1])) as folder:\n    (folder / 'half').write_text('h')\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")], check=False)
    (left,) = list(tmp_path.iterdir())
    assert left.name.startswith(".model.")
    (tmp_path / ".bashrc.deadbeef").mkdir()  # the user's own, whatever it is
    with filling(tmp_path / "other") as alive:
        assert remove_stale(tmp_path) == [left]
        assert alive.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bashrc.deadbeef", "other"]


def test_checksums_are_those_that_sha256sum_takes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "一.bin").write_bytes(b"\0" * (3 << 20))
    (tmp_path / "b").write_text("b")
    seen: list[tuple[str, int, int]] = []
    write_checksums(tmp_path, lambda *all: seen.append(all))
    assert seen[-1] == ("sub/一.bin", (3 << 20) + 1, (3 << 20) + 1)
    subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "b").write_text("c")
    assert subprocess.run(["sha256sum", "--check", CHECKSUMS], cwd=tmp_path, capture_output=True).returncode == 1


# Giving up


def test_work_in_this_thread_is_given_up_even_past_a_bare_except() -> None:
    asked = False

    def work() -> None:
        nonlocal asked
        with cancellable(lambda: asked):
            asked = True
            with contextlib.suppress(BaseException):  # as a library's bare except does
                busy()
            busy()

    def busy() -> None:
        for _ in range(5000):
            time.sleep(0.001)

    started = time.monotonic()
    with pytest.raises(Cancelled):
        work()
    assert time.monotonic() - started < 20
    time.sleep(0.5)  # nothing is raised any more


def test_a_program_is_given_up_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"echo here; (while true; do echo x >> {mark}; sleep 0.05; done) & wait"]
    started = time.monotonic()
    with pytest.raises(Cancelled):
        run_tool(["/bin/" + command[0], *command[1:]], lambda: mark.exists())
    assert time.monotonic() - started < 10
    size = mark.stat().st_size
    time.sleep(0.3)
    assert mark.stat().st_size == size


def test_a_program_dies_with_the_engine(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = (
        "import os, sys, threading, time\nfrom engine.export.cancellation import run_tool\n"
        f"threading.Timer(1.0, lambda: os.kill(os.getpid(), 9)).start()\n"
        f"run_tool(['/bin/sh', '-c', 'while true; do echo x >> {mark}; sleep 0.05; done'], lambda: False)"
    )
    subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    time.sleep(0.2)
    size = mark.stat().st_size
    time.sleep(0.3)
    assert mark.stat().st_size == size > 0


def test_a_program_that_fails_says_why_and_gets_no_standard_input() -> None:
    with pytest.raises(ToolFailed) as caught:
        run_tool(["/bin/sh", "-c", "cat; echo first; echo the reason >&2; exit 3"], lambda: False)
    assert caught.value.code == 3
    assert caught.value.tail == ["first", "the reason"]


# The plan


def test_the_plan_counts_what_is_needed_meanwhile(tmp_path: Path) -> None:
    folder, state = RunFolder(tmp_path / "run"), state_of()
    folder.path.mkdir()
    assert plan("adapter", "", folder, state).needed_bytes == 1000
    merged = plan("merged_16bit", "", folder, state)
    assert (merged.needed_bytes, merged.temporary_bytes, merged.error) == (2 * 10**6, 0, None)
    assert merged.target == folder.exports / "merged_16bit"
    four = plan("merged_4bit", str(tmp_path / "new"), folder, state)
    assert four.temporary_bytes == 2 * 10**6
    assert four.target == tmp_path / "new"
    assert plan("merged_4bit", str(tmp_path), folder, state).target == tmp_path / "run" / "merged_4bit"
    gguf = plan("gguf", "", folder, state, ("q8_0", "q4_k_m"))
    assert gguf.temporary_bytes == 4 * 10**6
    assert gguf.needed_bytes == pytest.approx(13.4e6 / 8, rel=0.01)
    assert plan("gguf", "", folder, state, ("f16", "q8_0")).temporary_bytes == 2 * 10**6


def test_an_earlier_export_is_the_target_and_no_place_for_another(tmp_path: Path) -> None:
    """A client names the target that the plan told it: planned again, it is the same."""
    folder, state = RunFolder(tmp_path / "run"), state_of()
    own = plan("merged_16bit", "", folder, state).target
    elsewhere = plan("merged_16bit", str(tmp_path), folder, state).target
    named_so = tmp_path / "model"
    for target in (own, elsewhere, named_so):
        target.mkdir(parents=True)
        if target == named_so:
            (target / CHECKSUMS).write_text("")
        again = plan("merged_16bit", str(target), folder, state, replace=True)
        assert (again.target, again.exists, again.error) == (target, True, None)
        assert "nothing is overwritten" in str(plan("merged_16bit", str(target), folder, state).error)


def test_a_merged_model_is_reused_while_the_adapter_is_the_same(tmp_path: Path) -> None:
    made = tmp_path / "merged"
    made.mkdir()
    (made / "config.json").write_text("{}")

    def merged(digest: str) -> ev.Exported:
        return ev.Exported(kind="merged_16bit", path=str(made), total_bytes=1, seconds=1, adapter_sha256=digest)

    folder = RunFolder(tmp_path)
    assert reusable(folder, state_of(1, CARD, merged("abc"))) == made
    assert reusable(folder, state_of(1, CARD, merged("older"))) is None
    (made / "config.json").unlink()
    assert reusable(folder, state_of(1, CARD, merged("abc"))) is None


def test_the_plan_refuses_in_words_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/nowhere")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    huge = plan("merged_16bit", "", folder, state_of(10**16))
    assert "disk has" in str(huge.error)
    assert huge.field == "path"
    cpu = plan("merged_4bit", "", folder, state_of(1, CPU))
    assert "needs a GPU" in str(cpu.error)
    none = plan("gguf", "", folder, state_of(), ("q4_k_m",))
    assert none.field == "llama_cpp"
    assert "UNSLOTH_LLAMA_CPP_PATH" in str(none.error)
    there = tmp_path / "there"
    there.write_text("mine")
    taken = plan("adapter", str(there), folder, state_of())
    assert taken.exists
    assert "nothing is overwritten" in str(taken.error)
    below = plan("adapter", str(there / "x"), folder, state_of())
    assert "is a file" in str(below.error)


# llama.cpp


def fake_llama_cpp(folder: Path, help_text: str, code: int = 1) -> Path:
    folder.mkdir()
    program = folder / "llama-quantize"
    program.write_text(f"#!/bin/sh\ncat <<'X'\n{help_text}\nX\nexit {code}\n")
    program.chmod(0o755)
    (folder / "convert_hf_to_gguf.py").write_text("# takes --outfile and --outtype\n")
    return folder


GOOD = "usage: llama-quantize\n  15  or  Q4_K_M  : 4.58G\n  30  or  IQ4_XS  : 4.25 bpw\n  10  or  Q2_K : 2.96G"


def test_llama_cpp_is_found_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_llama_cpp(tmp_path / "good", GOOD)
    found = look_at(folder)
    assert found.status == "ready"
    assert found.lacks(("q4_k_m", "q2_k_l")) is None
    assert "q3_k_xs" in str(found.lacks(("q4_k_m", "q3_k_xs")))
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(folder))
    assert find_llama_cpp().folder == folder
    assert find_llama_cpp(str(tmp_path / "gone")).status == "missing"
    monkeypatch.delenv("UNSLOTH_LLAMA_CPP_PATH")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert find_llama_cpp().folder == folder


def test_llama_cpp_that_cannot_be_used_is_told_apart(tmp_path: Path) -> None:
    old = look_at(fake_llama_cpp(tmp_path / "old", "usage: quantize\n  2  or  Q4_0 : 3.5G"))
    assert old.status == "old"
    assert "too old" in str(old.error)
    broken = look_at(fake_llama_cpp(tmp_path / "broken", "error while loading shared libraries: libx.so", 127))
    assert broken.status == "broken"
    assert "libx.so" in str(broken.error)
    half = fake_llama_cpp(tmp_path / "half", GOOD)
    (half / "convert_hf_to_gguf.py").unlink()
    assert "convert_hf_to_gguf.py" in str(look_at(half).error)
    foreign = fake_llama_cpp(tmp_path / "foreign", GOOD)
    (foreign / "llama-quantize").write_bytes(b"\x7fELF nonsense")
    assert look_at(foreign).status == "broken"


# GGUF


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(path: Path, cut: int = 0) -> Path:
    fields = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 2),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ 一 }}"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5),
        text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, True),
    ]
    tensor = text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 4, 8, 0)  # q8_0: 34 bytes for 32
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields)) + b"".join(fields) + tensor
    whole = head + b"\0" * (-len(head) % 32) + b"\1" * (4 * 34)
    path.write_bytes(whole[: len(whole) - cut])
    return path


def test_the_head_of_a_gguf_file_is_read(tmp_path: Path) -> None:
    head = read_head(gguf(tmp_path / "m.gguf"))
    assert head.tensors == {"blk.0.attn_q.weight": 128}
    assert head.blocks == 2
    assert head.chat_template == "{{ 一 }}"
    assert head.fields["tokenizer.ggml.tokens"] == 2
    assert head.fields["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.parametrize("cut", [1, 100, 150, 300, 400])
def test_a_gguf_file_that_is_cut_off_is_noticed(tmp_path: Path, cut: int) -> None:
    with pytest.raises(NotGguf, match=r"cut off|no GGUF"):
        read_head(gguf(tmp_path / "m.gguf", cut))


# The command


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


def test_an_earlier_export_that_was_damaged_is_not_called_saved(
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
    write_checksums(target, lambda *_: None)
    assert damaged(target) == []
    (target / "adapter_model.safetensors").write_text("wei")
    (target / "adapter_config.json").unlink()
    assert damaged(target) == ["adapter_config.json", "adapter_model.safetensors"]
    assert damaged(target, ".safetensors") == ["adapter_model.safetensors"]
    assert main(["export", str(run.path), "--adapter", "--to", str(target)]) == 2
    assert "--overwrite: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (1, "OSError: 557056 requested and 499488 written", "disk_full"),
        (1, "main: failed: basic_ios::clear: iostream error", "disk_full"),
        (-9, "", "tool_killed"),
        (1, "ERROR:hf-to-gguf:Model FooForCausalLM is not supported", "architecture_unknown"),
        (4, "no such instruction", "tool_failed"),
    ],
)
def test_why_a_program_failed_is_put_into_words(tmp_path: Path, code: int, said: str, expected: str) -> None:
    assert explain_tool_error(ToolFailed("llama-quantize", code, [said]), RunFolder(tmp_path)).code == expected
