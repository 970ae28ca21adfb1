"""The ordered backend list: what is there, what is forced, what is refused."""

from __future__ import annotations

import pytest

import covfast
from covfast import DeviceError, _core

ORDER = ["cuda", "avx512_bf16", "avx512", "avx2", "baseline", "cuda_on_cpu"]


def test_backends_come_in_the_fixed_order_and_baseline_is_always_there() -> None:
    entries = covfast.backends()
    names = [entry.name for entry in entries]
    assert names == [name for name in ORDER if name in names]
    assert {entry.name: entry.missing for entry in entries}["baseline"] is None


def test_backends_absent_ones_say_why() -> None:
    for entry in covfast.backends():
        assert entry.missing is None or len(entry.missing) > 5


def test_choose_backend_auto_takes_the_first_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVFAST_BACKEND", raising=False)
    first = next(entry.name for entry in covfast.backends() if entry.missing is None)
    assert _core.choose_backend("auto") == first


def test_choose_backend_forced_name_wins(backend: str) -> None:
    assert _core.choose_backend("auto") == backend
    covfast.ops.null([1.0])  # the fixture asserts which backend ran


def test_choose_backend_unknown_name_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVFAST_BACKEND", "neon")
    with pytest.raises(DeviceError, match=r"COVFAST_BACKEND: got 'neon', expected one of .*baseline"):
        _core.choose_backend("auto")


def test_choose_backend_conflict_with_device_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVFAST_BACKEND", "baseline")
    with pytest.raises(DeviceError, match="device: got 'cuda', expected 'cpu'"):
        _core.choose_backend("cuda")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0"])
def test_choose_backend_unknown_device_raises(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVFAST_BACKEND", raising=False)
    with pytest.raises(DeviceError, match="device: got"):
        _core.choose_backend(device)


def test_choose_backend_another_gpu_than_the_first_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVFAST_BACKEND", raising=False)
    with pytest.raises(DeviceError, match="device: got 'cuda:1', expected 'cuda' or 'cuda:0'"):
        _core.choose_backend("cuda:1")


def test_choose_backend_absent_cuda_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVFAST_BACKEND", raising=False)
    if any(entry.device == "cuda" and entry.missing is None for entry in covfast.backends()):
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="device: got 'cuda', expected one that is present here"):
        _core.choose_backend("cuda")
