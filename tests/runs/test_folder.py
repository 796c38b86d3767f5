"""A run folder's paths, the same from every login."""

from __future__ import annotations

import os

import pytest

from engine.runs.folder import SOCKET_BYTES, RunFolder


def test_socket_is_found_from_a_login_with_another_tmpdir(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    here = folder.default_socket
    folder.socket_path_file.write_text(str(here))
    monkeypatch.setattr("tempfile.tempdir", "/elsewhere")
    assert folder.default_socket != here
    assert folder.socket == here


def test_socket_is_not_put_into_a_tmpdir_with_a_long_path(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * 100)
    assert len(os.fsencode(folder.default_socket)) <= SOCKET_BYTES
