"""simplify: each rule gives the same answer as the graph it replaces, and stays away where it would not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, write_package
from engine.random_graphs import random_package

import covfast
from covfast import package
from covfast.simplify import simplify, simplify_package

TOLERANCE = 1e-5  # of the output's range: both round in float32
SIZES = ((1, 21, 18), (2, 7, 30))


def window(weight: str, groups: int = 1, stride: int = 1, padding: int = 0, dilation: int = 1, **more: Any) -> Any:
    pairs = {"stride": [stride] * 2, "padding": [padding] * 2, "dilation": [dilation] * 2}
    return {"op": "conv", "weight": weight, **pairs, "groups": groups, **more}


def pool(kernel: int = 3, stride: int = 1, padding: int = 1, **more: Any) -> Any:
    held = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2}
    return {"op": "avg_pool", **held, "ceil_mode": False, "count_include_pad": True, **more}


def graph(*nodes: tuple[dict[str, Any], str, str], channels: int = 4) -> dict[str, Any]:
    """Of (node, its inputs, its output); the last output is the network's."""
    made = [{**node, "inputs": inputs.split(), "output": output} for node, inputs, output in nodes]
    return {"inputs": [{"name": "x", "channels": channels, "rank": 2}], "outputs": [nodes[-1][2]], "nodes": made}


ADD, MUL, RELU, CONCAT = {"op": "add"}, {"op": "mul"}, {"op": "relu"}, {"op": "concat"}
LIKE = {"op": "resize", "align_corners": False}
UP = {**LIKE, "factor": [2.0, 1.5]}
DW = {"d": normal(4, 1, 3, 3, seed=1), "e": normal(4, 1, 3, 3, seed=2), "b": normal(4, seed=3), "c": normal(4, seed=4)}
ONE = {
    "p": normal(6, 4, 1, 1, seed=5),
    "q": normal(3, 4, 1, 1, seed=6),
    "bp": normal(6, seed=7),
    "bq": normal(3, seed=8),
}
AFFINE = {"op": "affine", "scale": "s", "shift": "t"}
PER_CHANNEL = {"s": normal(4, seed=9), "t": normal(4, seed=10)}

# name: (graph, tensors, ops afterwards)
SIMPLER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "pooling beside a depthwise convolution": (
        graph((window("d", 4, padding=1), "x", "a"), (pool(), "x", "p"), (ADD, "p a", "y")),
        DW,
        "conv",
    ),
    "strided, with a bias, and read later": (
        graph(
            (window("d", 4, 2, 1, bias="b"), "x", "a"),
            (pool(stride=2), "x", "p"),
            (ADD, "a p", "s"),
            (RELU, "s", "r"),
            (ADD, "r s", "y"),
        ),
        DW,
        "conv relu add",
    ),
    "pooling of whole windows that counts no padding": (
        graph((window("d", 4), "x", "a"), (pool(padding=0, count_include_pad=False), "x", "p"), (ADD, "a p", "y")),
        DW,
        "conv",
    ),
    "dilations 1 and 2": (
        graph(
            (window("d", 4, padding=1, bias="b"), "x", "a"),
            (window("e", 4, padding=2, dilation=2, bias="c"), "x", "c"),
            (ADD, "a c", "y"),
        ),
        DW,
        "conv",
    ),
    "dense windows of two sizes": (
        graph((window("p", bias="bp"), "x", "a"), (window("w", padding=1), "x", "c"), (ADD, "a c", "y")),
        {**ONE, "w": normal(6, 4, 3, 3, seed=11)},
        "conv",
    ),
    "added windows, then a norm": (
        graph(
            (window("d", 4, padding=1), "x", "a"),
            (window("e", 4, padding=2, dilation=2), "x", "c"),
            (ADD, "a c", "z"),
            (AFFINE, "z", "y"),
        ),
        {**DW, **PER_CHANNEL},
        "conv",
    ),
    "norm behind a grouped transposed convolution": (
        graph(
            (window("v", 2, 2, 1, bias="b") | {"op": "conv_transpose", "output_padding": [1, 1]}, "x", "a"),
            (AFFINE, "a", "y"),
        ),
        {"v": normal(4, 2, 3, 3, seed=12), "b": normal(4, seed=13), **PER_CHANNEL},
        "conv_transpose",
    ),
    "norm before a grouped convolution without padding": (
        graph((AFFINE, "x", "a"), (window("g", 2, bias="bp"), "a", "y")),
        {"g": normal(6, 2, 3, 3, seed=14), **ONE, **PER_CHANNEL},
        "conv",
    ),
    "residual of the input": (
        graph((window("g", 2, padding=2, dilation=2, bias="b"), "x", "a"), (ADD, "x a", "y")),
        {"g": normal(4, 2, 3, 3, seed=15), **DW},
        "conv",
    ),
    "1x1 behind a resize": (
        graph((RELU, "x", "r"), (UP, "r", "u"), (window("q", bias="bq"), "u", "y")),
        ONE,
        "relu conv resize",
    ),
    "grouped 1x1 behind a resize to a size, corners aligned": (
        graph(
            (pool(2, 2, 0), "x", "h"),
            ({"op": "resize", "align_corners": True}, "h x", "u"),
            (window("g", 2), "u", "v"),
            (pool(2, 2, 0), "x", "k"),
            (LIKE, "k u", "w"),
            (ADD, "v w", "y"),
        ),
        {"g": normal(4, 2, 1, 1, seed=16)},
        "avg_pool conv resize avg_pool resize add",
    ),
    "1x1 behind nearest samples": (
        graph(({"op": "resize_nearest", "exact": False, "factor": [2.0, 2.0]}, "x", "u"), (window("q"), "u", "y")),
        ONE,
        "conv resize_nearest",
    ),
    "siblings, one with a bias": (
        graph(
            (window("p", bias="bp"), "x", "a"),
            (RELU, "a", "r"),
            (window("q"), "x", "c"),
            ({"op": "slice", "first": 1, "count": 3}, "r", "d"),
            (ADD, "c d", "y"),
        ),
        ONE,
        "conv slice slice relu slice add",
    ),
    "slices at the borders of parts": (
        graph(
            (RELU, "x", "r"),
            (CONCAT, "r x r", "z"),
            ({"op": "slice", "first": 4, "count": 8}, "z", "a"),
            ({"op": "slice", "first": 0, "count": 4}, "z", "b"),
            (CONCAT, "b a", "y"),
        ),
        {},
        "relu concat concat",
    ),
    "sums of slices with the parts": (
        graph(
            (RELU, "x", "r"),
            (CONCAT, "x r", "z"),
            (window("w"), "z", "c"),
            (RELU, "c", "v"),
            ({"op": "slice", "first": 0, "count": 4}, "v", "l"),
            ({"op": "slice", "first": 4, "count": 4}, "v", "m"),
            (ADD, "l x", "a"),
            (ADD, "r m", "b"),
            (MUL, "a b", "y"),
        ),
        {"w": normal(8, 8, 1, 1, seed=17)},
        "relu concat conv relu add slice slice mul",
    ),
    "nothing at all": (
        graph(
            ({"op": "slice", "first": 0, "count": 4}, "x", "a"),
            (CONCAT, "a", "b"),
            (pool(1, 1, 0), "b", "c"),
            (RELU, "c", "y"),
        ),
        {},
        "relu",
    ),
}


def check(tmp_path: Path, before: dict[str, Any], tensors: dict[str, Any], ops: str) -> None:
    """The simplified graph has these ops, answers as the graph did on both engines, and neither argument changed."""
    untouched = copy.deepcopy((before, tensors))
    after, kept = simplify(before, tensors, (24, 24))
    assert [node["op"] for node in after["nodes"]] == ops.split()
    np.testing.assert_equal((before, tensors), untouched)
    assert all(tensor.dtype == np.float32 for tensor in kept.values())
    old = write_package(tmp_path / "old.covfast", before, tensors)
    new = write_package(tmp_path / "new.covfast", after, kept)
    for number, (batch, *size) in enumerate(SIZES):
        x = normal(batch, before["inputs"][0]["channels"], *size, seed=20 + number)
        expected = covfast.load(old, device="cpu")(x)
        np.testing.assert_allclose(
            covfast.load(new, device="cpu")(x), expected, rtol=0, atol=TOLERANCE * np.ptp(expected)
        )


@pytest.mark.parametrize("case", SIMPLER)
def test_simplify_gives_the_same_answer_with_fewer_nodes(tmp_path: Path, case: str) -> None:
    check(tmp_path, *SIMPLER[case])


# Patterns that look alike and must stay: (graph, tensors).
ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pooling read again": (
        graph((window("d", 4, padding=1), "x", "a"), (pool(), "x", "p"), (ADD, "a p", "s"), (MUL, "s p", "y")),
        DW,
    ),
    "pooling that does not count the padding": (
        graph((window("d", 4, padding=1), "x", "a"), (pool(count_include_pad=False), "x", "p"), (ADD, "a p", "y")),
        DW,
    ),
    "pooling in ceil mode": (
        graph((window("d", 4, padding=1), "x", "a"), (pool(ceil_mode=True), "x", "p"), (ADD, "a p", "y")),
        DW,
    ),
    "pooling beside a dense convolution": (
        graph((window("w", padding=1), "x", "a"), (pool(), "x", "p"), (ADD, "a p", "y")),
        {"w": normal(4, 4, 3, 3)},
    ),
    "two poolings": (graph((pool(), "x", "a"), (pool(5, 1, 2), "x", "p"), (ADD, "a p", "y")), {}),
    "dilations 1 and 4": (
        graph(
            (window("d", 4, padding=1), "x", "a"),
            (window("e", 4, padding=4, dilation=4), "x", "c"),
            (ADD, "a c", "y"),
        ),
        DW,
    ),
    "windows of different inputs": (
        graph((RELU, "x", "r"), (window("d", 4, padding=1), "x", "a"), (pool(), "r", "p"), (ADD, "a p", "y")),
        DW,
    ),
    "one channel beside many": (
        graph((window("o"), "x", "a"), (window("p"), "a", "c"), (ADD, "c a", "y")),
        {"o": normal(1, 4, 1, 1), "p": normal(4, 1, 1, 1)},
    ),
    "norm whose convolution is read again": (
        graph((window("d", 4, padding=1), "x", "a"), (AFFINE, "a", "n"), (ADD, "a n", "y")),
        {**DW, **PER_CHANNEL},
    ),
    "norm before a padded convolution": (
        graph((AFFINE, "x", "a"), (window("d", 4, padding=1), "a", "y")),
        {**DW, **PER_CHANNEL},
    ),
    "residual of another value": (
        graph((RELU, "x", "r"), (window("d", 4, padding=1), "r", "a"), (ADD, "a x", "y")),
        DW,
    ),
    "1x1 behind a resize that makes smaller": (
        graph(({**UP, "factor": [0.5, 0.5]}, "x", "u"), (window("q"), "u", "y")),
        ONE,
    ),
    "1x1 of many channels behind a resize": (
        graph((UP, "x", "u"), (window("m"), "u", "y"), channels=1),
        {"m": normal(64, 1, 1, 1)},
    ),
    "resize that is read again": (
        graph((UP, "x", "u"), (window("w"), "u", "v"), (MUL, "u v", "y")),
        {"w": normal(4, 4, 1, 1)},
    ),
    "3x3 behind a resize": (graph((UP, "x", "u"), (window("w", padding=1), "u", "y")), {"w": normal(2, 4, 3, 3)}),
    "siblings of different strides": (
        graph((window("p"), "x", "a"), (window("p", stride=2), "x", "c"), (LIKE, "c a", "e"), (ADD, "a e", "y")),
        {"p": normal(4, 4, 1, 1)},
    ),
    "slice across parts": (
        graph((RELU, "x", "r"), (CONCAT, "x r", "z"), ({"op": "slice", "first": 2, "count": 4}, "z", "y")),
        {},
    ),
    "sum of one slice only": (
        graph(
            (RELU, "x", "r"),
            (CONCAT, "x r", "z"),
            ({"op": "sigmoid"}, "z", "v"),
            ({"op": "slice", "first": 0, "count": 4}, "v", "l"),
            ({"op": "slice", "first": 4, "count": 4}, "v", "m"),
            (ADD, "l x", "a"),
            (MUL, "a m", "y"),
        ),
        {},
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_simplify_leaves_what_only_looks_alike(tmp_path: Path, case: str) -> None:
    before, tensors = ALIKE[case]
    check(tmp_path, before, tensors, " ".join(node["op"] for node in before["nodes"]))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("rank", "widths"), [(2, (1, 2, 3, 6)), (3, (2, 4))])
def test_simplify_random_networks_give_the_same_answer(
    tmp_path: Path, seed: int, rank: int, widths: tuple[int, ...]
) -> None:
    pytest.importorskip("torch")
    path = random_package(tmp_path / "m.covfast", 300 + seed, rank, widths)
    old = covfast.load(path, engine="torch", device="cpu")
    new = covfast.load(simplify_package(path, tmp_path / "new.covfast"), engine="torch", device="cpu")
    assert len(new.metadata["graph"]["nodes"]) <= len(old.metadata["graph"]["nodes"]) + 2  # siblings and their slices
    for size in ((12, 20), (28, 36)) if rank == 2 else ((4, 8, 12), (8, 12, 4)):
        x = normal(2, old.metadata["input"]["channels"], *size, seed=seed)
        expected = old(x)
        span = max(float(np.ptp(expected)), 1e-3 * float(np.abs(expected).max()), 1e-6)
        assert float(np.abs(new(x) - expected).max()) <= 1e-4 * span  # norms of few samples amplify the last bits


def test_simplify_again_changes_nothing() -> None:
    for before, tensors, _ in SIMPLER.values():
        after, kept = simplify(before, tensors, (24, 24))
        again, same = simplify(after, kept, (24, 24))
        assert again == after
        np.testing.assert_equal(same, kept)


def test_simplify_rounds_once() -> None:
    before, tensors, _ = SIMPLER["added windows, then a norm"]
    _, kept = simplify(before, tensors, (24, 24))
    exact = np.zeros((4, 1, 5, 5))
    exact[:, :, 1:4, 1:4] += tensors["d"]
    exact[:, :, ::2, ::2] += tensors["e"]
    exact *= tensors["s"].astype(np.float64).reshape(4, 1, 1, 1)
    np.testing.assert_array_equal(next(t for t in kept.values() if t.ndim == 4), exact.astype(np.float32))


def test_simplify_package_keeps_all_but_the_graph(tmp_path: Path) -> None:
    before, tensors, _ = SIMPLER["added windows, then a norm"]
    path = write_package(tmp_path / "m.covfast", before, tensors)
    old = package.read_metadata(path)
    x = normal(1, 4, 16, 20)
    expected = covfast.load(path, device="cpu")(x)
    assert simplify_package(path) == path
    package.verify(path)
    new = package.read_metadata(path)
    assert [node["op"] for node in new["graph"]["nodes"]] == ["conv"]
    assert new["provenance"].pop("graph").startswith("simplified by exact algebra")
    assert {**new, "graph": 0, "checksum": 0} == {**old, "graph": 0, "checksum": 0}
    np.testing.assert_allclose(covfast.load(path, device="cpu")(x), expected, rtol=0, atol=TOLERANCE * np.ptp(expected))


def test_exported_miniseg_has_its_poolings_and_sums_folded(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    path = covfast.export(covfast.models.MiniSeg().eval(), tmp_path / "m.covfast", (1, 3, 64, 64))
    nodes = package.read_metadata(path)["graph"]["nodes"]
    ops = [node["op"] for node in nodes]
    assert len(nodes) == 654  # 701 as lowered
    assert {op: ops.count(op) for op in ("avg_pool", "affine", "conv")} == {"avg_pool": 0, "affine": 0, "conv": 175}
