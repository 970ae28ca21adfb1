"""Small packages that the tests of the engine share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covfast import package


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def write_package(
    path: Path,
    graph: Mapping[str, Any],
    tensors: Mapping[str, Any],
    *,
    recipe: Any = None,
    licence: str = "Apache-2.0",
    name: str = "small",
    **contract: Any,
) -> Path:
    """A package; keywords beyond its fields change its input contract, where None removes a key."""
    given = graph["inputs"][0]
    rank = given["rank"]
    fields = {"channels": given["channels"], "rank": rank, "multiple": [1] * rank, "size": None, **contract}
    return package.write(
        path,
        tensors,
        graph,
        recipe=recipe,
        labels={0: "background", 1: "lesion"},
        input_contract={key: value for key, value in fields.items() if value is not None},
        licence=licence,
        provenance={"made by": "the tests"},
        name=name,
    )


def small_graph() -> dict[str, Any]:
    """x (3, H, W) -> conv stride 2 -> prelu -> two branches -> concat -> 1x1 -> resize to x."""
    window = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    nodes = [
        {"op": "conv", "inputs": ["x"], "output": "a", "weight": "wa", "bias": "ba", **window, "stride": [2, 2]},
        {"op": "prelu", "inputs": ["a"], "output": "b", "slope": "s"},
        {"op": "conv", "inputs": ["b"], "output": "c", "weight": "wc", **window, "groups": 4},
        {"op": "sigmoid", "inputs": ["c"], "output": "d"},
        {"op": "mul", "inputs": ["b", "d"], "output": "e"},
        {"op": "concat", "inputs": ["b", "e"], "output": "f"},
        {"op": "conv", "inputs": ["f"], "output": "g", "weight": "wg", **window, "padding": [0, 0]},
        {"op": "resize", "inputs": ["g", "x"], "output": "y", "align_corners": False},
    ]
    return {"inputs": [{"name": "x", "channels": 3, "rank": 2}], "outputs": ["y"], "nodes": nodes}


def small_tensors() -> dict[str, np.ndarray[Any, Any]]:
    return {
        "wa": normal(4, 3, 3, 3, seed=1),
        "ba": normal(4, seed=2),
        "s": normal(4, seed=3),
        "wc": normal(4, 1, 3, 3, seed=4),
        "wg": normal(2, 8, 1, 1, seed=5),
    }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Path of a package with a small 2-D network."""
    return write_package(tmp_path / "small.covfast", small_graph(), small_tensors())


def wide_graph() -> dict[str, Any]:
    """A network of the ops that the small one has not, x (4, D, H, W), with the tensors of `wide_tensors`."""
    window = {"stride": [1, 2, 2], "padding": [0, 1, 1], "dilation": [1, 1, 1]}
    nodes = [
        {"op": "max_pool", "inputs": ["x"], "output": "a", "kernel": [1, 3, 3], **window, "ceil_mode": True},
        {"op": "group_norm", "inputs": ["a"], "output": "b", "groups": 2, "eps": 1e-5, "weight": "s", "bias": "t"},
        {"op": "conv_transpose", "inputs": ["b"], "output": "c", "weight": "w", "bias": "t", **window, "groups": 2}
        | {"output_padding": [0, 1, 1]},
        {"op": "leaky_relu", "inputs": ["c"], "output": "d", "slope": 0.01},
        {"op": "adaptive_avg_pool", "inputs": ["d"], "output": "e", "size": [1, 1, 1]},
        {"op": "resize_nearest", "inputs": ["e", "d"], "output": "f", "exact": True},
        {"op": "affine", "inputs": ["f"], "output": "g", "scale": "s", "shift": "t"},
        {"op": "sub", "inputs": ["d", "g"], "output": "h"},
        {"op": "pad", "inputs": ["h"], "output": "i", "before": [0, -1, 2], "after": [1, 0, 0], "value": 0.5},
        {"op": "slice", "inputs": ["i"], "output": "j", "first": 1, "count": 3},
        {"op": "log_softmax", "inputs": ["j"], "output": "y"},
    ]
    return {"inputs": [{"name": "x", "channels": 4, "rank": 3}], "outputs": ["y"], "nodes": nodes}


def wide_tensors() -> dict[str, np.ndarray[Any, Any]]:
    return {"w": normal(4, 2, 1, 3, 3, seed=1), "s": normal(4, seed=2), "t": normal(4, seed=3)}


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Path of a package with a 3-D network of the ops that the small one has not."""
    return write_package(tmp_path / "wide.covfast", wide_graph(), wide_tensors())
