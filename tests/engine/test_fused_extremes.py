"""What fusing and padded blocks of channels must not change: constants, infinities, numbers near the limits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package

import covfast
from covfast.engines import Network

pytestmark = pytest.mark.op("conv3d")

WINDOW = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
POINT = {**WINDOW, "padding": [0, 0]}


def network(
    path: Path, nodes: list[dict[str, Any]], tensors: dict[str, Any], channels: int = 1, **load: Any
) -> Network:
    """Nodes in a row, each reading the one before unless it names inputs."""
    before = "x"
    for i, node in enumerate(nodes):
        node.setdefault("inputs", [before])
        node.setdefault("output", f"v{i}")
        before = node["output"]
    graph = {"inputs": [{"name": "x", "channels": channels, "rank": 2}], "outputs": [before], "nodes": nodes}
    return covfast.load(write_package(path / "m.covfast", graph, tensors), **load)


def conv(weight: str, **more: Any) -> dict[str, Any]:
    return {"op": "conv", "weight": weight, **(POINT if weight.startswith("p") else WINDOW), **more}


def test_relu_behind_a_transposed_convolution_of_overlapping_windows(backend: str, tmp_path: Path) -> None:
    up = {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "output_padding": [0, 0]}
    nodes = [conv("a"), {"op": "conv_transpose", "weight": "t", **up}, {"op": "relu"}, conv("p")]
    one = -np.ones((1, 32, 1, 1), np.float32)  # of values that a relu has passed: nothing above 0
    tensors = {"a": normal(32, 1, 3, 3), "t": normal(32, 32, 4, 4, seed=1), "p": one}
    y = network(tmp_path, nodes, tensors)(normal(1, 1, 8, 12))
    assert y.shape == (1, 1, 16, 24)
    assert y.max() <= 0 < -y.min()


@pytest.mark.parametrize("eps", [0.0, 1e-90, 1e-5])
@pytest.mark.parametrize("weighted", [False, True])
def test_norm_without_eps_leaves_lanes_without_a_channel_alone(
    backend: str, tmp_path: Path, eps: float, weighted: bool
) -> None:
    norm: dict[str, Any] = {"op": "group_norm", "groups": 24, "eps": eps} | ({"weight": "s"} if weighted else {})
    tensors = {"a": normal(24, 1, 3, 3), "s": normal(24, seed=2), "p": normal(16, 24, 1, 1, seed=3)}
    y = network(tmp_path, [conv("a"), norm, conv("p")], tensors)(normal(1, 1, 8, 12))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("channels", [4, 24])
def test_relu_of_minus_infinity_is_zero_fused_or_not(backend: str, tmp_path: Path, channels: int) -> None:
    tensors = {"pa": np.full((channels, 1, 1, 1), -3e38, np.float32), "pb": np.ones((1, channels, 1, 1), np.float32)}
    net = network(tmp_path, [conv("pa"), {"op": "relu"}, conv("pb")], tensors)
    np.testing.assert_array_equal(net(np.full((1, 1, 4, 20), 10, np.float32)), 0)
    assert np.isnan(net(np.full((1, 1, 4, 20), np.nan, np.float32))).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_norm_of_a_constant_channel_gives_its_bias(backend: str, tmp_path: Path, precision: str) -> None:
    norm = {"op": "group_norm", "groups": 24, "eps": 1e-5, "bias": "s"}
    tensors = {"pa": normal(24, 1, 1, 1), "s": np.ones(24, np.float32), "b": normal(24, seed=5)}
    eye = np.eye(24, dtype=np.float32)[:, :, None, None]
    net = network(tmp_path, [conv("pa", bias="b"), norm, conv("pe")], {**tensors, "pe": eye}, precision=precision)
    np.testing.assert_allclose(net(np.full((1, 1, 16, 20), 0.7, np.float32)), 1, atol=0.02)


def test_lanes_without_a_channel_stay_finite_behind_a_sigmoid(backend: str, tmp_path: Path) -> None:
    nodes: list[dict[str, Any]] = [conv("pa"), {"op": "sigmoid"}, {"op": "affine", "scale": "k", "shift": "o"}]
    nodes += [{"op": "mul", "scalar": 3e19}, {"op": "mul", "scalar": 3e19}, conv("pc")]
    nodes.insert(1, {"op": "max_pool", "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]})
    nodes[1]["ceil_mode"] = False
    tensors = {
        "pa": np.full((24, 1, 1, 1), -60, np.float32),
        "k": np.ones(24, np.float32),
        "o": np.zeros(24, np.float32),
    }
    net = network(tmp_path, nodes, {**tensors, "pc": np.ones((16, 24, 1, 1), np.float32)})
    assert np.isfinite(net(np.ones((1, 1, 4, 8), np.float32))).all()


def test_two_networks_at_once_give_what_they_give_alone(backend: str, tmp_path: Path) -> None:
    tensors = {"a": normal(24, 1, 3, 3), "c": normal(2, 24, 3, 3, seed=1)}
    net = network(tmp_path, [conv("a"), {"op": "relu"}, conv("c")], tensors, threads=2)
    inputs = [normal(1, 1, 40, 8 * i + 8, seed=i) for i in range(4)]
    expected, got = [net(x) for x in inputs], [np.empty(0)] * 4

    def call(i: int) -> None:
        for _ in range(20):
            got[i] = net(inputs[i])

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
