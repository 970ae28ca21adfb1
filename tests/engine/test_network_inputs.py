"""What networks take and refuse as inputs and calibration, 8 bits, and copies for other processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, small_graph, small_tensors, write_package

import covfast
from covfast import DTypeError, ShapeError, ValueRangeError, WeightsError

pytestmark = pytest.mark.op("conv3d")


# ---- inputs ----


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((1, 3, 8, 8), np.complex64),
        np.zeros((1, 3, 8, 8), object),
        np.zeros((1, 3, 8, 8), "datetime64[s]"),
        np.full((1, 3, 8, 8), "1"),
        [[[[1, 2], [3]]]],
        {},
        "x",
        None,
    ],
    ids=["complex", "object", "datetime", "strings", "ragged", "dict", "string", "none"],
)
def test_network_input_of_another_type_raises(small: Path, x: Any) -> None:
    with pytest.raises(DTypeError, match="x: got"):
        covfast.load(small)(x)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64, ">f4"])
def test_network_takes_real_numbers_of_any_type(small: Path, dtype: Any) -> None:
    net, x = covfast.load(small), (normal(1, 3, 9, 12) > 0).astype(np.float32)
    np.testing.assert_array_equal(net(x.astype(dtype)), net(x))
    np.testing.assert_array_equal(net(x.astype(dtype).tolist()), net(x))


def test_network_tensor_that_needs_its_gradient_raises(small: Path) -> None:
    torch = pytest.importorskip("torch")
    net, x = covfast.load(small), torch.zeros(1, 3, 8, 8)
    assert net(x).shape == (1, 2, 8, 8)
    with pytest.raises(DTypeError, match=r"x: got .*grad"):
        net(x.requires_grad_())


def test_network_huge_view_of_another_shape_raises_at_once(small: Path) -> None:
    net, view = covfast.load(small), np.broadcast_to(np.uint8(1), (1 << 20, 1 << 20))  # 4 TiB as float32
    with pytest.raises(ShapeError, match=r"x: got shape \(1048576, 1048576\)"):
        net(view)
    with pytest.raises(ShapeError, match="x: got shape"):
        net(np.broadcast_to(np.float64(1), (1, 4, 1 << 20, 1 << 20)))


# ---- 8 bits, copies ----


def blocked_package(path: Path) -> Path:
    """Two convolutions of many channels, which 8 bits are for."""
    window = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    nodes = [
        {"op": "conv", "inputs": ["x"], "output": "a", "weight": "w", **window},
        {"op": "relu", "inputs": ["a"], "output": "b"},
        {"op": "conv", "inputs": ["b"], "output": "y", "weight": "v", **window},
    ]
    graph = {"inputs": [{"name": "x", "channels": 32, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    return write_package(path, graph, {"w": normal(32, 32, 3, 3, seed=1), "v": normal(32, 32, 3, 3, seed=2)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_network_of_int8_refuses_what_8_bits_cannot_hold(tmp_path: Path, value: float) -> None:
    path, x = blocked_package(tmp_path / "m.covfast"), normal(2, 32, 12, 16)
    net, expected = covfast.load(path, precision="int8", calibration=x), covfast.load(path)(x)
    assert net.error is not None
    assert 0 < net.error < 0.05
    assert np.sqrt(np.mean((net(x) - expected) ** 2)) < 0.05 * expected.std()
    wrong = x.copy()
    wrong[1, 3, 5, 7] = value
    with pytest.raises(ValueRangeError, match="x: got NaN or infinity, expected finite numbers with precision='int8'"):
        net(wrong)
    with pytest.raises(ValueRangeError, match="calibration: got NaN or infinity"):
        covfast.load(path, precision="int8", calibration=wrong)
    for precision in ("fp32", "bf16"):
        assert not np.isfinite(covfast.load(path, precision=precision)(wrong)[1, :, 5, 7]).any()


def test_load_calibration_of_no_use_raises(small: Path) -> None:
    for wrong in (np.zeros((2, 3, 8, 8)), np.zeros((0, 3, 8, 8))):
        with pytest.raises(ValueRangeError, match="calibration: got no value but 0"):
            covfast.load(small, precision="int8", calibration=wrong)
    with pytest.raises(ShapeError, match="calibration: got shape"):
        covfast.load(small, precision="int8", calibration=normal(1, 4, 8, 8))


@pytest.mark.parametrize("arguments", [{}, {"exact": True}, {"precision": "bf16", "threads": 2}, {"precision": "int8"}])
def test_network_copies_and_pickles_answer_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    path, x = blocked_package(tmp_path / "m.covfast"), normal(2, 32, 12, 16)
    given = {**arguments, "calibration": x} if arguments.get("precision") == "int8" else arguments
    monkeypatch.chdir(tmp_path)
    net: Any = covfast.load("m.covfast", **given)
    expected = net(x)
    monkeypatch.chdir("/")
    for like in (copy.deepcopy(net), copy.copy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(like(x), expected)
        assert (like.precision, like.error, like.backend) == (net.precision, net.error, net.backend)
        assert like.summary() == net.summary()
    held = pickle.dumps(net)
    assert len(held) < 4096  # no weights, no inputs
    os.replace(write_package(tmp_path / "other.covfast", small_graph(), small_tensors()), path)
    with pytest.raises(WeightsError, match=r"m\.covfast: got sha256"):
        pickle.loads(held)
    np.testing.assert_array_equal(net(x), expected)


def test_network_works_in_a_spawned_process(small: Path) -> None:
    net, x = covfast.load(small, threads=1), normal(1, 3, 20, 24)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(net, (x,)), net(x))
