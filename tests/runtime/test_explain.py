"""Errors recognised by type and text: machine memory, GPU memory, disk."""

from __future__ import annotations

import errno

import pytest

from engine.runtime.explain import explain


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory: you tried to"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        Exception("Error while deserializing: Cannot allocate memory (os error 12)"),
    ],
)
def test_host_memory(error: Exception) -> None:
    failure = explain(error)
    assert failure.code == "out_of_host_memory"
    assert "not the GPU's" in str(failure.message)
    assert failure.hint


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_gpu_memory(words: str) -> None:
    assert explain(RuntimeError(words)).code == "out_of_memory"


def test_cause_of_an_error_is_checked() -> None:
    error = ValueError("could not map")
    error.__cause__ = MemoryError()
    assert explain(error).code == "out_of_host_memory"
    assert explain(ValueError("a value is out of range")).code == "crashed"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/x"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/1"),
    ],
)
def test_full_disk(error: Exception) -> None:
    assert explain(error).code == "disk_full"
