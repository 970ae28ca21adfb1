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
