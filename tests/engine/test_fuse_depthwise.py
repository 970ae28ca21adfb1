"""A 1x1 convolution and the depthwise one behind it: run as one step where that gives the same, else as two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package

import covfast

pytest.importorskip("torch")
pytestmark = pytest.mark.op("pointwise_depthwise")


def pair(path: Path, *, channels: int = 3, stride: int = 2, bias: bool = False, infinite: bool = False) -> Path:
    """x -> 1x1 -> depthwise 5x5 -> prelu -> + skip -> resized to the size of the 1x1 convolution's result."""
    window: dict[str, Any] = {"dilation": [1, 1], "stride": [1, 1], "padding": [0, 0], "groups": 1}
    wide = {**window, "stride": [stride, stride], "padding": [2, 2]}
    nodes = [
        {"op": "conv", "inputs": ["x"], "output": "a", "weight": "wa", **window, **({"bias": "ba"} if bias else {})},
        {"op": "conv", "inputs": ["x"], "output": "skip", "weight": "ws", **wide},
        {"op": "conv", "inputs": ["a"], "output": "b", "weight": "wb", "bias": "bb", **wide, "groups": 6},
        {"op": "prelu", "inputs": ["b"], "output": "c", "slope": "s"},
        {"op": "add", "inputs": ["c", "skip"], "output": "d"},
        {"op": "resize", "inputs": ["d", "a"], "output": "y", "align_corners": False},
    ]
    tensors = {
        "wa": normal(6, channels, 1, 1, seed=1),
        "ba": normal(6, seed=2),
        "ws": normal(6, channels, 5, 5, seed=3),
        "wb": normal(6, 1, 5, 5, seed=4),
        "bb": normal(6, seed=5),
        "s": normal(6, seed=6),
    }
    if infinite:
        tensors["wa"][2, 1] = np.inf
    used = tensors if bias else {name: value for name, value in tensors.items() if name != "ba"}
    graph = {"inputs": [{"name": "x", "channels": channels, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    return write_package(path, graph, used)


def steps(net: Any) -> list[str]:
    return [step[0] for step in net._network.steps]


@pytest.mark.parametrize("size", [(33, 70), (5, 6), (64, 256)])
def test_pair_becomes_one_step_and_equals_torch(backend: str, tmp_path: Path, size: tuple[int, int]) -> None:
    path = pair(tmp_path / "m.covfast")
    net, x = covfast.load(path), normal(2, 3, *size)
    assert steps(net).count("pointwise_depthwise") == 1
    expected = covfast.load(path, engine="torch", device="cpu")(x)
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-5 * float(np.ptp(expected)))


@pytest.mark.parametrize("other", [{"bias": True}, {"channels": 9}, {"stride": 1}, {"infinite": True}])
def test_pair_that_differs_stays_two_steps(backend: str, tmp_path: Path, other: dict[str, Any]) -> None:
    path = pair(tmp_path / "m.covfast", **other)
    net, x = covfast.load(path), normal(1, other.get("channels", 3), 20, 37)
    assert "pointwise_depthwise" not in steps(net)
    expected = covfast.load(path, engine="torch", device="cpu")(x)
    span = float(np.ptp(expected[np.isfinite(expected)]))
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-5 * span)


def test_pair_whose_first_result_is_added_to_the_second_stays_two_steps(backend: str, tmp_path: Path) -> None:
    window: dict[str, Any] = {"dilation": [1, 1], "stride": [1, 1], "padding": [0, 0], "groups": 1}
    wide = {**window, "stride": [2, 2], "padding": [2, 2], "groups": 6}
    nodes = [
        {"op": "conv", "inputs": ["x"], "output": "m", "weight": "wm", **window},
        {"op": "conv", "inputs": ["m"], "output": "dw", "weight": "wd", "bias": "bd", **wide},
        {"op": "add", "inputs": ["dw", "m"], "output": "y"},
    ]
    tensors = {"wm": normal(6, 3, 1, 1, seed=1), "wd": normal(6, 1, 5, 5, seed=2), "bd": normal(6, seed=3)}
    graph = {"inputs": [{"name": "x", "channels": 3, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    path = write_package(tmp_path / "m.covfast", graph, tensors)
    net, x = covfast.load(path), normal(2, 3, 1, 1)  # a stride of 2 leaves one pixel as it is
    assert "pointwise_depthwise" not in steps(net)
    expected = covfast.load(path, engine="torch", device="cpu")(x)
    np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-5 * float(np.ptp(expected)))
