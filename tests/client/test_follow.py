"""Following files while they are written: torn lines, truncated files, progress bars, long files."""

from __future__ import annotations

import time

import pytest

from engine.client.follow import LOG_TAIL_BYTES, Follower, LogFollower
from engine.protocol import events as ev
from engine.runs.folder import RunFolder

READY = ev.StageChanged(stage="ready")
ENDED = ev.EngineEnded(exit_code=0)


def append(path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_files_that_do_not_exist_yet(folder: RunFolder):
    events, log = Follower(folder), LogFollower(folder)
    assert (events.poll(), log.poll(), log.partial) == ([], [], "")
    assert not events.has_more
    append(folder.events, ev.encode(READY))
    append(folder.log, b"hello\n")
    assert (events.poll(), log.poll()) == ([READY], ["hello"])
    assert (events.poll(), log.poll()) == ([], [])


def test_torn_line_is_waited_for(folder: RunFolder):
    events, line = Follower(folder), ev.encode(READY)
    for cut in range(1, len(line)):
        append(folder.events, line[:cut])
        assert events.poll() == []
        append(folder.events, line[cut:])
        assert events.poll() == [READY]


def test_unknown_and_broken_lines_are_skipped(folder: RunFolder):
    append(folder.events, b'\n{"type":"New"}\nrubbish\xff\n' + ev.encode(READY) + b"{}\n" + ev.encode(ENDED))
    assert Follower(folder).poll() == [READY, ENDED]


@pytest.mark.parametrize("cut", ["truncate", "replace"])
def test_truncated_or_replaced_file_is_read_from_its_start(folder: RunFolder, cut: str):
    events = Follower(folder)
    append(folder.events, ev.encode(READY) * 3 + b'{"torn')
    assert len(events.poll()) == 3
    if cut == "truncate":
        folder.events.write_bytes(ev.encode(ENDED))
    else:
        new = folder.path / "new"
        new.write_bytes(ev.encode(ENDED) + ev.encode(READY) * 9)
        new.rename(folder.events)
    assert events.poll()[0] == ENDED


def test_long_file_is_read_in_bounded_chunks(folder: RunFolder):
    steps = [ev.Step(step=n, epoch=0.0, loss=1.0, learning_rate=1e-4) for n in range(20_000)]
    append(folder.events, b"".join(map(ev.encode, steps)))
    events, found, polls = Follower(folder), [], 0
    while True:
        began = time.process_time()
        found += events.poll(max_bytes=100_000)
        assert time.process_time() - began < 0.5
        polls += 1
        if not events.has_more:
            break
    assert found == steps
    assert polls == -(-folder.events.stat().st_size // 100_000)


def test_line_longer_than_a_poll(folder: RunFolder):
    long = ev.Failed(code="x", message=ev.Message("y" * 5000))
    append(folder.events, ev.encode(long))
    events, found = Follower(folder), []
    for _ in range(10):
        found += events.poll(max_bytes=1000)
    assert found == [long]


def test_log_is_read_from_near_its_end(folder: RunFolder):
    append(folder.log, b"".join(b"line %06d\n" % n for n in range(100_000)))
    log = LogFollower(folder)
    lines = log.poll()
    assert lines[-1] == "line 099999"
    assert LOG_TAIL_BYTES / 12 - 2 < len(lines) <= LOG_TAIL_BYTES / 12
    assert all(len(line) == len("line 000000") for line in lines), "none is cut in two"


def test_partial_first_line_is_skipped_even_in_two_reads(folder: RunFolder):
    append(folder.log, b"x" * (LOG_TAIL_BYTES + 10))
    log = LogFollower(folder)
    assert (log.poll(), log.partial) == ([], "")
    append(folder.log, b"xx\nwhole\n")
    assert log.poll() == ["whole"]


def test_progress_bar_is_its_last_state(folder: RunFolder):
    log = LogFollower(folder)
    append(folder.log, b"start\n\r  0%|\r 50%|")
    assert log.poll() == ["start"]
    assert log.partial == " 50%|"
    for percent in range(51, 100):
        append(folder.log, b"\r %d%%|" % percent)
        assert log.poll() == []
        assert log.partial == f" {percent}%|"
    append(folder.log, b"\r100%|\n")
    assert log.poll() == ["100%|"]
    assert log.partial == ""


def test_windows_line_ends_and_invalid_utf8(folder: RunFolder):
    append(folder.log, b"a\r\nb\xff\n\n\xe4\xbd")
    log = LogFollower(folder)
    assert log.poll() == ["a", "b\ufffd", ""]
    append(folder.log, b"\xa0\n")
    assert log.poll() == ["你"], "a character split between two reads is complete"


def test_endless_progress_bar_uses_no_memory(folder: RunFolder):
    append(folder.log, b"\r 10%|" * 10_000)
    log = LogFollower(folder)
    log.poll()
    assert len(log._torn) < 100
