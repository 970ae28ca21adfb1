"""Running networks: same bits whatever the threads, forks, interrupts, and the errors of `load`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package

import covfast
from covfast import BackendUnavailable, Cancelled, DeviceError, ShapeError, ValueRangeError, _core, ops

pytestmark = pytest.mark.op("conv3d")


def slow_package(path: Path, nodes: int = 400) -> Path:
    """A network of many convolutions: some seconds for one 3 x 512 x 512 image."""
    window = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    chain = [
        {"op": "conv", "inputs": [f"v{i}" if i else "x"], "output": f"v{i + 1}", "weight": "w" if i else "w0", **window}
        for i in range(nodes)
    ]
    graph = {"inputs": [{"name": "x", "channels": 3, "rank": 2}], "outputs": [f"v{nodes}"], "nodes": chain}
    return write_package(path / "slow.covfast", graph, {"w0": normal(8, 3, 3, 3), "w": 0.1 * normal(8, 8, 3, 3)})


# ---- results ----


def test_network_equals_its_ops(backend: str, small: Path) -> None:
    from engine.conftest import small_tensors

    t, x = small_tensors(), normal(2, 3, 21, 34)
    b = ops.activation(ops.conv3d(x, t["wa"], t["ba"], stride=2, padding=1), "leaky", t["s"])
    e = b * ops.activation(ops.conv3d(b, t["wc"], padding=1, groups=4), "sigmoid")
    expected = ops.resize3d(ops.conv3d(np.concatenate([b, e], 1), t["wg"]), (21, 34))
    net = covfast.load(small)
    assert net.backend == backend
    np.testing.assert_array_equal(net(x), expected)


def test_network_of_norms_and_transposed_convolutions_equals_its_ops(backend: str, wide: Path) -> None:
    from engine.conftest import wide_tensors

    t, x = wide_tensors(), normal(2, 4, 3, 10, 14)
    window: dict[str, Any] = {"stride": (1, 2, 2), "padding": (0, 1, 1)}
    b = ops.group_norm(ops.pool3d(x, "max", (1, 3, 3), ceil_mode=True, **window), 2, t["s"], t["t"])
    c = ops.conv_transpose3d(b, t["w"], t["t"], groups=2, output_padding=(0, 1, 1), **window)
    d = ops.activation(c, "leaky", 0.01)
    e = ops.resize3d(ops.pool3d(d, "mean", d.shape[2:]), d.shape[2:], mode="nearest-exact")
    h = d - ops.activation(e, "affine", t["s"], t["t"])
    expected = ops.softmax(ops.pad3d(h, (0, -1, 2), (1, 0, 0), 0.5)[:, 1:4], log=True)
    np.testing.assert_array_equal(covfast.load(wide, device="cpu")(x), expected)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_network_of_norms_any_number_of_threads_same_bits(backend: str, wide: Path, threads: int) -> None:
    x = normal(2, 4, 5, 120, 133)
    np.testing.assert_array_equal(covfast.load(wide, threads=threads)(x), covfast.load(wide, threads=1)(x))


@pytest.mark.parametrize("threads", [2, 3])
def test_network_any_number_of_threads_same_bits(backend: str, small: Path, threads: int) -> None:
    x = normal(2, 3, 300, 333)
    np.testing.assert_array_equal(covfast.load(small, threads=threads)(x), covfast.load(small, threads=1)(x))


def test_network_batch_equals_its_images(small: Path) -> None:
    net, x = covfast.load(small), normal(19, 3, 20, 24)
    np.testing.assert_array_equal(net(x), np.concatenate([net(image[None]) for image in x]))
    assert net(x[:0]).shape == (0, 2, 20, 24)


def test_network_sizes_in_turn_do_not_disturb_each_other(small: Path) -> None:
    net = covfast.load(small)
    images = [normal(1, 3, 16 + i, 40 - i, seed=i) for i in range(7)]
    first = [net(x) for x in images]
    for x, y in zip(images, first, strict=True):
        np.testing.assert_array_equal(net(x), y)


def test_network_input_is_not_changed_and_outputs_are_separate(small: Path) -> None:
    net, x = covfast.load(small), normal(1, 3, 16, 16)
    kept = x.copy()
    first = net(x)
    before = first.copy()
    net(x + 1)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(first, before)


def test_network_two_threads_at_once_give_the_serial_bits(small: Path) -> None:
    net = covfast.load(small, threads=2)
    images = [normal(1, 3, 128, 130 + i % 2, seed=i) for i in range(12)]
    serial = [net(x) for x in images]
    found: dict[int, Any] = {}

    def work(first: int) -> None:
        for index in range(first, len(images), 2):
            found[index] = net(images[index])

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, expected in enumerate(serial):
        np.testing.assert_array_equal(found[index], expected)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_network_works_after_fork(small: Path) -> None:
    net, x = covfast.load(small, threads=2), normal(1, 3, 200, 210)
    expected = net(x)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(net(x)))
    child.start()
    assert receiver.poll(20), "the child did not answer"
    np.testing.assert_array_equal(receiver.recv(), expected)
    child.join(20)
    np.testing.assert_array_equal(net(x), expected)


# ---- stopping ----


def stopped_after(call: Callable[[], object], expected: type[BaseException], stop: Callable[[], None]) -> float:
    """Seconds from `stop`, called 0.2 s into `call`, until `expected` is raised."""
    moments: list[float] = []

    def later() -> None:
        moments.append(time.perf_counter())
        stop()

    timer = threading.Timer(0.2, later)
    timer.start()
    with pytest.raises(expected):
        call()
    ended = time.perf_counter()
    timer.join()
    return ended - moments[0]


def test_network_interrupt_returns_within_200_ms(tmp_path: Path) -> None:
    net = covfast.load(slow_package(tmp_path, 4000))
    x = normal(1, 3, 512, 512)
    took = stopped_after(lambda: net(x), KeyboardInterrupt, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert took < 0.2


def test_network_cancel_flag_returns_within_200_ms(tmp_path: Path) -> None:
    net, flag = covfast.load(slow_package(tmp_path, 4000)), threading.Event()
    x = normal(1, 3, 512, 512)
    took = stopped_after(lambda: net(x, cancel=flag), Cancelled, flag.set)
    assert took < 0.2
    flag.clear()
    assert net(x[:, :, :8, :8], cancel=flag).shape == (1, 8, 8, 8)


def test_network_one_large_convolution_can_be_stopped(tmp_path: Path) -> None:
    window = {"stride": [1] * 3, "padding": [1] * 3, "dilation": [1] * 3, "groups": 1}
    node = {"op": "conv", "inputs": ["x"], "output": "y", "weight": "w", **window}
    graph = {"inputs": [{"name": "x", "channels": 16, "rank": 3}], "outputs": ["y"], "nodes": [node]}
    net = covfast.load(write_package(tmp_path / "m.covfast", graph, {"w": normal(32, 16, 3, 3, 3)}), threads=1)
    x = np.zeros((1, 16, 64, 128, 128), np.float32)
    flag = threading.Event()
    assert stopped_after(lambda: net(x, cancel=flag), Cancelled, flag.set) < 0.2


def test_network_flag_already_set_stops_at_once(small: Path) -> None:
    flag = threading.Event()
    flag.set()
    with pytest.raises(Cancelled, match="cancel: got a request to stop in stage 'network'"):
        covfast.load(small)(normal(1, 3, 8, 8), cancel=flag)


def test_network_progress_is_called_and_its_error_comes_through(tmp_path: Path) -> None:
    net = covfast.load(slow_package(tmp_path, 300))
    x, seen = normal(1, 3, 256, 256), []
    net(x, progress=lambda stage, done, total: seen.append((stage, done, total)))
    assert {stage for stage, _, _ in seen} == {"network"}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert all(0 <= done <= total for _, done, total in seen)

    def fail(stage: str, done: int, total: int) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        net(x, progress=fail)
    with pytest.raises(ValueRangeError, match="progress: got an object that cannot be called"):
        net(x, progress=3)
    with pytest.raises(ValueRangeError, match=r"cancel: got an object without is_set\(\)"):
        net(x, cancel=3)


def test_network_called_from_its_own_callback_raises(small: Path) -> None:
    net, x, inner = covfast.load(small), normal(1, 3, 64, 64), []
    expected = net(x)

    def again(stage: str, done: int, total: int) -> None:
        with pytest.raises(ValueRangeError, match="session: got a call while another one runs"):
            net(x + 1)
        inner.append(done)

    np.testing.assert_array_equal(net(x, progress=again), expected)
    assert inner

    def fail(stage: str, done: int, total: int) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError):
        net(x, progress=fail)
    np.testing.assert_array_equal(net(x), expected)  # the flag is off again


# ---- load ----


def test_load_wrong_arguments_raise(small: Path) -> None:
    with pytest.raises(BackendUnavailable, match="engine: got 'onnx', expected one of"):
        covfast.load(small, engine="onnx")
    with pytest.raises(BackendUnavailable, match="precision: got 'int4'"):
        covfast.load(small, precision="int4")
    for threads in (0, 257, 10**30, True, 2.0, "2"):
        with pytest.raises(ValueRangeError, match=f"threads: got {threads!r}, expected a whole number from 1 to 256"):
            covfast.load(small, threads=threads)  # type: ignore[arg-type]
    with pytest.raises(ValueRangeError, match="device: got None"):
        covfast.load(small, device=None)  # type: ignore[arg-type]
    for precision in ("bf16", "int8"):
        given = None if precision == "bf16" else normal(1, 3, 8, 8)
        with pytest.raises(ValueRangeError, match=f"exact: got True with precision='{precision}'"):
            covfast.load(small, precision=precision, exact=True, calibration=given)
    with pytest.raises(DeviceError, match="device: got 'tpu'"):
        covfast.load(small, device="tpu")


def test_load_explicit_cuda_never_falls_back(small: Path) -> None:
    with pytest.raises((DeviceError, BackendUnavailable)):
        covfast.load(small, device="cuda")


def test_load_records_the_device_that_runs(small: Path) -> None:
    assert covfast.load(small, device="cpu").device == "cpu"
    assert covfast.load(small).device in ("cpu", "cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:99", "cpu:0", ""])
def test_load_torch_on_an_unknown_or_absent_device_raises(small: Path, device: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(DeviceError, match="device: got"):
        covfast.load(small, engine="torch", device=device)


def test_session_on_a_backend_that_cannot_run_it_raises(small: Path) -> None:
    network = _core.open_network(os.fsencode(small))
    for backend in covfast.backends():
        if backend.missing is not None or backend.device != "cpu":
            with pytest.raises((DeviceError, BackendUnavailable), match=f"backend: got '{backend.name}'"):
                _core.Session(network, backend.name, 1, (1, 16, 16))
    with pytest.raises(DeviceError, match="backend: got 'abacus'"):
        _core.Session(network, "abacus", 1, (1, 16, 16))


def test_load_forced_backend_without_the_ops_raises(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [b.name for b in covfast.backends() if b.missing is None and not covfast._core.has_op(b.name, "conv3d")]
    if not lacking:
        pytest.skip("every backend that runs here has the op")
    monkeypatch.setenv("COVFAST_BACKEND", lacking[0])
    with pytest.raises(BackendUnavailable, match=f"backend: got '{lacking[0]}', expected one that has the op"):
        covfast.load(small)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16), (1, 3, 1, 16, 16), (1, 3, 0, 16)])
def test_network_input_of_another_shape_raises(small: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        covfast.load(small)(np.zeros(shape, np.float32))


def test_network_summary_names_the_engine(small: Path) -> None:
    net = covfast.load(small, device="cpu")
    assert f"native on {net.backend}, fp32" in net.summary()
    assert net.metadata["name"] == "small"
    assert net.rank == 2


def test_native_path_imports_no_torch(small: Path) -> None:
    code = f"import covfast, sys; covfast.load({str(small)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
