"""Graphs: each op of the closed list runs as its kernel does; broken graphs end in FormatError naming the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine.conftest import normal, small_graph, small_tensors, write_package

import covfast
from covfast import FormatError, MemoryLimitError, ShapeError, ops, package


def one(path: Path, node: dict[str, Any], channels: int = 4, rank: int = 2, **tensors: Any) -> covfast.Network:
    """A network of a single node that reads x."""
    node = {"inputs": ["x"], "output": "y", **node}
    graph = {"inputs": [{"name": "x", "channels": channels, "rank": rank}], "outputs": ["y"], "nodes": [node]}
    return covfast.load(write_package(path / "one.covfast", graph, tensors), device="cpu")


WINDOW = {"stride": [1, 2], "padding": [1, 0], "dilation": [2, 1], "groups": 2}
POOL = {"kernel": [3, 2], "stride": [2, 2], "padding": [1, 0], "ceil_mode": True, "count_include_pad": False}
W, B, S, T = normal(6, 2, 3, 3, seed=1), normal(6, seed=2), normal(4, seed=3), normal(4, seed=4)
V = normal(4, 3, 3, 3, seed=5)
Reference = Callable[[Any], Any]

OPS: dict[str, tuple[dict[str, Any], dict[str, Any], Reference]] = {
    "conv": (
        {"op": "conv", "weight": "w", "bias": "b", **WINDOW},
        {"w": W, "b": B},
        lambda x: ops.conv3d(x, W, B, stride=(1, 2), padding=(1, 0), dilation=(2, 1), groups=2),
    ),
    "avg_pool": (
        {"op": "avg_pool", **POOL},
        {},
        lambda x: ops.pool3d(x, "mean", (3, 2), stride=2, padding=(1, 0), ceil_mode=True, count_include_pad=False),
    ),
    "max_pool": (
        {
            "op": "max_pool",
            "kernel": [3, 2],
            "stride": [2, 1],
            "padding": [1, 0],
            "dilation": [1, 2],
            "ceil_mode": True,
        },
        {},
        lambda x: ops.pool3d(x, "max", (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), ceil_mode=True),
    ),
    "adaptive_avg_pool": (
        {"op": "adaptive_avg_pool", "size": [1, 1]},
        {},
        lambda x: ops.pool3d(x, "mean", (13, 17)),
    ),
    "adaptive_max_pool": (
        {"op": "adaptive_max_pool", "size": [13, 1]},
        {},
        lambda x: ops.pool3d(x, "max", (1, 17)),
    ),
    "conv_transpose": (
        {"op": "conv_transpose", "weight": "w", "bias": "b", **WINDOW, "output_padding": [1, 1]},
        {"w": V, "b": B},
        lambda x: ops.conv_transpose3d(
            x, V, B, stride=(1, 2), padding=(1, 0), dilation=(2, 1), output_padding=1, groups=2
        ),
    ),
    "group_norm": (
        {"op": "group_norm", "groups": 2, "eps": 1e-3, "weight": "s", "bias": "t"},
        {"s": S, "t": T},
        lambda x: ops.group_norm(x, 2, S, T, eps=1e-3),
    ),
    "group_norm without affine": (
        {"op": "group_norm", "groups": 4, "eps": 1e-5},
        {},
        lambda x: ops.group_norm(x, 4),
    ),
    "resize_nearest": (
        {"op": "resize_nearest", "factor": [2, 1.5], "exact": False},
        {},
        lambda x: ops.resize3d(x, factor=[2, 1.5], mode="nearest"),
    ),
    "resize_nearest exact": (
        {"op": "resize_nearest", "factor": [2, 1.5], "exact": True},
        {},
        lambda x: ops.resize3d(x, factor=[2, 1.5], mode="nearest-exact"),
    ),
    "pad": (
        {"op": "pad", "before": [1, -2], "after": [0, 3], "value": -1.5},
        {},
        lambda x: ops.pad3d(x, (1, -2), (0, 3), -1.5),
    ),
    "log_softmax": ({"op": "log_softmax"}, {}, lambda x: ops.softmax(x, log=True)),
    "resize": (
        {"op": "resize", "factor": [2, 1.5], "align_corners": False},
        {},
        lambda x: ops.resize3d(x, factor=[2, 1.5]),
    ),
    "resize corners": (
        {"op": "resize", "factor": [2, 1.5], "align_corners": True},
        {},
        lambda x: ops.resize3d(x, factor=[2, 1.5], align_corners=True),
    ),
    "prelu": ({"op": "prelu", "slope": "s"}, {"s": S}, lambda x: ops.activation(x, "leaky", S)),
    "leaky_relu": ({"op": "leaky_relu", "slope": 0.1}, {}, lambda x: ops.activation(x, "leaky", 0.1)),
    "relu": ({"op": "relu"}, {}, lambda x: ops.activation(x, "relu")),
    "sigmoid": ({"op": "sigmoid"}, {}, lambda x: ops.activation(x, "sigmoid")),
    "affine": (
        {"op": "affine", "scale": "s", "shift": "t"},
        {"s": S, "t": T},
        lambda x: ops.activation(x, "affine", S, T),
    ),
    "softmax": ({"op": "softmax"}, {}, ops.softmax),
    "add": ({"op": "add", "inputs": ["x", "x"]}, {}, lambda x: x + x),
    "add scalar": ({"op": "add", "scalar": 0.5}, {}, lambda x: x + np.float32(0.5)),
    "sub": ({"op": "sub", "inputs": ["x", "x"]}, {}, lambda x: x - x),
    "sub scalar": ({"op": "sub", "scalar": 0.5}, {}, lambda x: x - np.float32(0.5)),
    "scalar sub": ({"op": "sub", "scalar": 0.5, "reversed": True}, {}, lambda x: np.float32(0.5) - x),
    "mul": ({"op": "mul", "inputs": ["x", "x"]}, {}, lambda x: x * x),
    "mul scalar": ({"op": "mul", "scalar": 0.5}, {}, lambda x: x * np.float32(0.5)),
    "concat": ({"op": "concat", "inputs": ["x", "x", "x"]}, {}, lambda x: np.concatenate([x, x, x], 1)),
    "slice": ({"op": "slice", "first": 1, "count": 2}, {}, lambda x: x[:, 1:3]),
}


@pytest.mark.parametrize("case", OPS)
def test_graph_op_equals_its_kernel(tmp_path: Path, case: str) -> None:
    node, tensors, reference = OPS[case]
    x = normal(3, 4, 13, 17)
    np.testing.assert_array_equal(one(tmp_path, node, **tensors)(x), reference(x))


def test_graph_3d_network_runs(tmp_path: Path) -> None:
    w, x = normal(2, 4, 3, 3, 3), normal(1, 4, 5, 6, 7)
    node = {"op": "conv", "weight": "w", "stride": [1] * 3, "padding": [1] * 3, "dilation": [1] * 3, "groups": 1}
    np.testing.assert_array_equal(one(tmp_path, node, rank=3, w=w)(x), ops.conv3d(x, w, padding=1))


def test_graph_values_share_memory_without_touching_each_other(tmp_path: Path) -> None:
    # Each value is used much later than it is made, so that reuse of a living value would show.
    nodes = [{"op": "add", "inputs": ["x"], "output": "v0", "scalar": 1.0}]
    nodes += [{"op": "mul", "inputs": [f"v{i}"], "output": f"v{i + 1}", "scalar": 2.0} for i in range(6)]
    nodes += [{"op": "concat", "inputs": ["v0", "v6", "v3", "x"], "output": "y"}]
    graph = {"inputs": [{"name": "x", "channels": 2, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    x = normal(2, 2, 9, 11)
    v = x + np.float32(1)
    got = covfast.load(write_package(tmp_path / "m.covfast", graph, {}), device="cpu")(x)
    np.testing.assert_array_equal(got, np.concatenate([v, v * 64, v * 8, x], 1))


def test_graph_scratch_lies_beside_living_values(tmp_path: Path) -> None:
    # The norms run in place and beside values used later; a scratch that overlapped one would show.
    norm = {"op": "group_norm", "groups": 1, "eps": 1e-5}
    nodes = [{"op": "add", "inputs": ["x"], "output": "v0", "scalar": 1.0}]
    for i in range(4):
        nodes.append({"op": "mul", "inputs": [f"v{i}"], "output": f"m{i}", "scalar": 2.0})
        nodes.append({**norm, "inputs": [f"m{i}"], "output": f"v{i + 1}"})
    nodes += [{"op": "concat", "inputs": ["v0", "v4", "v2", "x"], "output": "c"}]
    nodes += [{**norm, "inputs": ["c"], "output": "y"}]
    graph = {"inputs": [{"name": "x", "channels": 2, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    x = normal(2, 2, 160, 170)
    v = [x + np.float32(1)]
    for _ in range(4):
        v.append(ops.group_norm(2 * v[-1], 1))
    expected = ops.group_norm(np.concatenate([v[0], v[4], v[2], x], 1), 1)
    net = covfast.load(write_package(tmp_path / "m.covfast", graph, {}), device="cpu")
    np.testing.assert_array_equal(net(x), expected)


BROKEN_OPS: dict[str, tuple[dict[str, Any], str]] = {
    "transposed channels": ({**OPS["conv_transpose"][0], "groups": 3}, "weight: got 4 x 3 channels in 3 groups"),
    "output_padding": ({**OPS["conv_transpose"][0], "output_padding": [2, 2]}, "output_padding: got 2, expected less"),
    "output_padding missing": (
        {k: v for k, v in OPS["conv_transpose"][0].items() if k != "output_padding"},
        "output_padding",
    ),
    "groups": ({"op": "group_norm", "groups": 3, "eps": 1e-5}, "groups: got 3, expected a divisor of 4"),
    "groups beyond": ({"op": "group_norm", "groups": 5, "eps": 1e-5}, "groups: got 5"),
    "eps": ({"op": "group_norm", "groups": 2, "eps": -1}, "eps: got -1"),
    "weight": ({"op": "group_norm", "groups": 2, "eps": 0, "weight": "b"}, "weight: got a tensor of 6 numbers"),
    "max padding": ({**OPS["max_pool"][0], "padding": [2, 0]}, "padding: got 2, expected at most half"),
    "max counts": ({**OPS["max_pool"][0], "count_include_pad": True}, "attributes: got 'count_include_pad'"),
    "adaptive 0": ({"op": "adaptive_avg_pool", "size": [0, 1]}, "size: got 0"),
    "nearest corners": ({**OPS["resize_nearest"][0], "align_corners": True}, "attributes: got 'align_corners'"),
    "exact": ({"op": "resize_nearest", "factor": [2, 2]}, "exact"),
    "before": ({"op": "pad", "before": [5000, 0], "after": [0, 0], "value": 0}, "before: got 5000"),
    "value": ({"op": "pad", "before": [1, 0], "after": [0, 0], "value": 1e39}, "value: got"),
}


@pytest.mark.parametrize("case", BROKEN_OPS)
def test_graph_op_with_broken_attributes_raises(tmp_path: Path, case: str) -> None:
    node, match = BROKEN_OPS[case]
    with pytest.raises(FormatError, match=rf"graph node 0: {match}"):
        one(tmp_path, node, w=V, b=B, s=S, t=T)


def test_graph_adaptive_pooling_of_a_size_that_does_not_divide_raises(tmp_path: Path) -> None:
    net = one(tmp_path, {"op": "adaptive_avg_pool", "size": [2, 3]})
    assert net(normal(1, 4, 6, 9)).shape == (1, 4, 2, 3)
    with pytest.raises(
        ShapeError, match="size: got 7 before an adaptive pooling, expected a multiple of its output, 2"
    ):
        net(normal(1, 4, 7, 9))


def test_graph_cut_that_leaves_nothing_raises(tmp_path: Path) -> None:
    net = one(tmp_path, {"op": "pad", "before": [-4, 0], "after": [-4, 0], "value": 0})
    with pytest.raises(ShapeError, match="nothing is left after the op 'pad' at 'y'"):
        net(normal(1, 4, 8, 8))


def node_change(index: int, **attributes: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one node; None removes an attribute."""

    def apply(graph: dict[str, Any]) -> None:
        for key, value in attributes.items():
            if value is None:
                del graph["nodes"][index][key]
            else:
                graph["nodes"][index][key] = value

    return apply


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown op": (node_change(0, op="exec"), r"graph node 0: op: got 'exec', expected one of the closed list"),
    "op missing": (node_change(0, op=None), "graph node 0: op"),
    "op is a number": (node_change(0, op=3), "graph node 0: op: got 3, expected a text"),
    "value of a later node": (node_change(0, inputs=["g"]), "graph node 0: inputs: got 'g'"),
    "its own value": (node_change(0, inputs=["a"]), "graph node 0: inputs: got 'a'"),
    "unknown value": (node_change(4, inputs=["b", "nothing"]), "graph node 4: inputs: got 'nothing'"),
    "too many inputs": (node_change(1, inputs=["a", "a"]), "graph node 1: inputs: got 2"),
    "no inputs": (node_change(5, inputs=[]), "graph node 5: inputs: got 0"),
    "value defined twice": (node_change(1, output="a"), "graph node 1: output: got 'a'"),
    "input redefined": (node_change(1, output="x"), "graph node 1: output: got 'x'"),
    "missing tensor": (node_change(0, weight="absent"), "graph node 0: tensor: got no 'absent'"),
    "filler as tensor": (node_change(0, weight="__pad__.0"), "graph node 0"),
    "tensor of another shape": (node_change(0, weight="wg"), "graph node 0: weight: got"),
    "bias of another length": (node_change(0, bias="wa"), "graph node 0: bias: got"),
    "slope of another length": (node_change(1, slope="wa"), "graph node 1: slope: got"),
    "groups 0": (node_change(0, groups=0), "graph node 0: groups: got 0"),
    "groups that do not divide": (node_change(0, groups=2), "graph node 0: weight: got"),
    "stride 0": (node_change(0, stride=[0, 1]), "graph node 0: stride: got 0"),
    "stride huge": (node_change(0, stride=[2**40, 1]), "graph node 0: stride: got"),
    "stride of three axes": (node_change(0, stride=[1, 1, 1]), "graph node 0: stride"),
    "padding negative": (node_change(0, padding=[-1, 0]), "graph node 0: padding: got -1"),
    "padding fractional": (node_change(0, padding=[0.5, 0]), "graph node 0: padding: got 0.5"),
    "align_corners missing": (node_change(7, align_corners=None), "graph node 7: align_corners"),
    "channels that differ": (node_change(4, inputs=["x", "d"]), "graph node 4: inputs: got 3 and 4 channels"),
    "misspelt attribute": (node_change(0, paddding=[1, 1]), "graph node 0: attributes: got 'paddding'"),
    "attribute of another op": (node_change(1, slope="s", scale="s"), "graph node 1: attributes: got 'scale'"),
    "two attributes in one": (
        node_change(0, **{"stride padding": 1}),
        "graph node 0: attributes: got 'stride padding'",
    ),
    "empty attribute": (node_change(3, **{"": 1}), "graph node 3: attributes: got ''"),
    "no nodes": (lambda graph: graph.update(nodes=[]), "nodes: got 0"),
    "nodes is an object": (lambda graph: graph.update(nodes={}), "nodes: got {}"),
    "no output": (lambda graph: graph.update(outputs=[]), "outputs: got 0"),
    "two outputs": (lambda graph: graph.update(outputs=["y", "y"]), "outputs: got 2"),
    "unknown output": (lambda graph: graph.update(outputs=["z"]), "outputs: got 'z'"),
    "the input as output": (lambda graph: graph.update(outputs=["x"]), "outputs: got 'x'"),
    "two inputs": (lambda graph: graph.update(inputs=graph["inputs"] * 2), "inputs: got 2"),
    "rank 4": (lambda graph: graph["inputs"][0].update(rank=4), "rank: got 4"),
    "no channels": (lambda graph: graph["inputs"][0].update(channels=0), "channels: got 0"),
    "channels huge": (lambda graph: graph["inputs"][0].update(channels=2**60), "channels: got"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_graph_broken_raises_naming_the_place(tmp_path: Path, case: str) -> None:
    break_it, match = BROKEN[case]
    graph = small_graph()
    break_it(graph)
    contract = {"channels": 3, "rank": 2, "multiple": [1, 1]}
    given = graph["inputs"][0]
    given["rank"], rank = 2, given["rank"]
    path = write_package(
        tmp_path / "m.covfast",
        {**graph, "inputs": [{**i, "rank": rank} for i in graph["inputs"]]},
        small_tensors(),
        **contract,
    )
    with pytest.raises(FormatError, match=match) as caught:
        covfast.load(path)
    assert str(caught.value).startswith("m.covfast: ")


@pytest.mark.parametrize(
    ("contract", "match"),
    [
        ({"multiple": [0, 1]}, "multiple: got 0"),
        ({"multiple": [1]}, "multiple"),
        ({"multiple": "1"}, "multiple"),
        ({"size": [0, 1]}, "size: got 0"),
        ({"size": [8]}, "size"),
        ({"channels": None}, "channels: got"),
        ({"channels": 4}, "input: got rank 2 and 4 channels, expected 2 and 3, as the graph has them"),
        ({"rank": None}, "rank: got"),
        ({"rank": 3}, "input: got rank 3 and 3 channels, expected 2 and 3"),
        ({"rank": "2"}, 'rank: got "2"'),
    ],
)
def test_graph_broken_input_contract_raises(tmp_path: Path, contract: dict[str, Any], match: str) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors(), **contract)
    for read in (covfast.load, package.summary):
        with pytest.raises(FormatError, match=rf"^m\.covfast: {match}"):
            read(path)


@pytest.mark.parametrize("recipe", [{}, {"stages": [1, 2]}, {"version": 1, "stages": 5}, {"version": 1, "stages": [1]}])
def test_graph_beside_a_broken_recipe_raises(tmp_path: Path, recipe: dict[str, Any]) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors(), recipe=recipe)
    for read in (covfast.load, package.summary):
        with pytest.raises(FormatError, match=r"^m\.covfast: "):
            read(path)


def test_graph_input_of_another_size_raises(tmp_path: Path) -> None:
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors(), multiple=[4, 8])
    with pytest.raises(ShapeError, match="size: got 12, expected a multiple of 8"):
        covfast.load(path)(normal(1, 3, 8, 12))
    path = write_package(tmp_path / "m.covfast", small_graph(), small_tensors(), size=[8, 16])
    with pytest.raises(ShapeError, match="size: got 8, expected 16"):
        covfast.load(path)(normal(1, 3, 8, 8))


def test_graph_input_too_small_for_the_network_raises(tmp_path: Path) -> None:
    node = {"op": "conv", "weight": "w", "stride": [1, 1], "padding": [0, 0], "dilation": [3, 3], "groups": 1}
    net = one(tmp_path, node, w=normal(2, 4, 3, 3))
    with pytest.raises(ShapeError, match="nothing is left after the op 'conv' at 'y'"):
        net(normal(1, 4, 6, 9))


def test_graph_sizes_that_do_not_meet_raise(tmp_path: Path) -> None:
    nodes = [
        {"op": "avg_pool", "inputs": ["x"], "output": "a", **POOL},
        {"op": "add", "inputs": ["x", "a"], "output": "y"},
    ]
    graph = {"inputs": [{"name": "x", "channels": 2, "rank": 2}], "outputs": ["y"], "nodes": nodes}
    net = covfast.load(write_package(tmp_path / "m.covfast", graph, {}))
    with pytest.raises(ShapeError, match="inputs: got sizes"):
        net(normal(1, 2, 8, 8))


def test_graph_pooling_window_larger_than_its_input_leaves_nothing(tmp_path: Path) -> None:
    window = {"kernel": [5, 5], "stride": [2, 2], "padding": [0, 0], "count_include_pad": False}
    for ceil_mode in (False, True):
        net = one(tmp_path, {"op": "avg_pool", "ceil_mode": ceil_mode, **window})
        with pytest.raises(ShapeError, match="nothing is left after the op 'avg_pool'"):
            net(normal(1, 4, 3, 3))
    assert net(normal(1, 4, 4, 4)).shape == (1, 4, 1, 1)  # as torch: the window may hang over by less than a stride


def test_graph_resizes_that_would_take_all_memory_raise(tmp_path: Path) -> None:
    net = one(tmp_path, {"op": "resize", "factor": [1000, 1], "align_corners": False}, channels=1)
    with pytest.raises(
        MemoryLimitError, match="size: got 2000000 after the op 'resize' at 'y', expected at most 1048576"
    ):
        net(normal(1, 1, 2000, 1))
    chain = [
        {"op": "resize", "inputs": ["x"], "output": f"v{i}", "factor": [1000, 1], "align_corners": False}
        for i in range(80)
    ]
    graph = {"inputs": [{"name": "x", "channels": 1, "rank": 2}], "outputs": ["v79"], "nodes": chain}
    with pytest.raises(MemoryLimitError, match=r"tables of \d+ entries for the resizes"):
        covfast.load(write_package(tmp_path / "m.covfast", graph, {}), device="cpu")(normal(1, 1, 1000, 1))
