"""A GPU that PyTorch cannot use is told with its cause and cure, by stand-ins for driver and device files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pynvml  # type: ignore[import-untyped]
import pytest

from engine.config.run_spec import ModelSpec
from engine.preflight import model as preflight
from engine.preflight.model import check_model
from engine.runs import gpu
from engine.runs.gpu import gpu_problem, has_accelerator, has_card, torch_cuda_version


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    (tmp_path / "nvidia0").touch()
    return tmp_path


Driver = Callable[..., None]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Sets up a driver: its CUDA version, or the code of the error with which it starts or its card answers."""

    def set_up(cuda: int = 13010, start: int = 0, card: int = 0) -> None:
        def answer(code: int) -> Callable[..., object]:
            def call(*_: object) -> object:
                if code:
                    raise pynvml.NVMLError(code)
                return SimpleNamespace(total=1)

            return call

        monkeypatch.setattr(pynvml, "nvmlInit", answer(start))
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: cuda)
        monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "535.104")
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda number: number)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", answer(card))
        monkeypatch.setattr(gpu, "torch_cuda_version", lambda: (13, 0))

    set_up()
    return set_up


def test_a_card_that_works_and_a_machine_without_one_are_no_problem(devices: Path, driver: Driver) -> None:
    assert gpu_problem(devices, {}) is None
    assert gpu_problem(devices, {"CUDA_VISIBLE_DEVICES": "1,0"}) is None
    driver(cuda=13000)
    assert gpu_problem(devices, {}) is None, "newer programs run on older drivers of one major version"
    (devices / "nvidia0").rename(devices / "dxg")
    assert has_accelerator(devices)
    assert not has_card(devices)
    assert gpu_problem(devices, {"CUDA_VISIBLE_DEVICES": ""}) is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"cuda": 12020}, ("driver 535.104 supports CUDA 12.2", "needs 13.0", "update the driver")),
        ({"start": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}, ("does not run: RM has detected", "Restart")),
        ({"start": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, ("does not run", "install the driver")),
        ({"card": pynvml.NVML_ERROR_GPU_IS_LOST}, ("does not answer", "nvidia-smi")),
    ],
)  # fmt: skip
def test_a_gpu_that_cannot_be_used_has_a_cause_and_a_cure(
    devices: Path, driver: Driver, setting: dict[str, int], words: tuple[str, ...]
) -> None:
    driver(**setting)
    message = str(gpu_problem(devices, {}))
    assert all(one in message for one in words), message


@pytest.mark.parametrize("hidden", ["", "-1", " ", "-1,0"])
def test_a_hidden_gpu_is_told(devices: Path, driver: Driver, hidden: str) -> None:
    assert "CUDA_VISIBLE_DEVICES" in str(gpu_problem(devices, {"CUDA_VISIBLE_DEVICES": hidden}))


def test_a_pytorch_without_cuda_is_told(devices: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "torch_cuda_version", lambda: None)
    assert "built without CUDA" in str(gpu_problem(devices, {}))


def test_what_only_pytorch_can_tell_is_left_to_it(devices: Path, driver: Driver) -> None:
    driver(start=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert gpu_problem(devices, {}) is None, "a container may have CUDA without this library"


def test_the_cuda_version_of_the_installed_pytorch_is_read_without_importing_it() -> None:
    assert torch_cuda_version() != (0, 0)


def test_the_wizard_asks_for_a_yes(devices: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "gpu_problem", lambda: gpu_problem(devices, {"CUDA_VISIBLE_DEVICES": ""}))
    (error,) = check_model(ModelSpec(model_name="owner/model"))
    assert error.field == "model.use_cpu"
    assert check_model(ModelSpec(model_name="owner/model", use_cpu=True)) == []
