"""What each node of a package's graph gives for one size of the input, and what it costs: one function an op.

A shape is (channels, [D,] H, W); images of a batch do not change it. Sizes follow torch's rules, as the engine's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from covfast.errors import ShapeError, ValueRangeError, describe

Shape = tuple[int, ...]
Node = Mapping[str, Any]
TENSORS = ("weight", "bias", "slope", "scale", "shift")
"""Attributes that may name a tensor."""

_LARGEST = 1 << 31  # samples along an axis
_TYPICAL = {2: 256, 3: 64}  # least size along an axis where a network states none

Rule = Callable[[Node, Sequence[Shape], Mapping[str, Shape]], Shape]
"""Shape of a node's output: (node, shapes of its inputs, shapes of the tensors by name)."""


def typical_size(contract: Mapping[str, Any]) -> tuple[int, ...]:
    """A size to plan for: the input contract's own, else the least multiple of at least 256 (2-D) or 64 (3-D)."""
    if contract.get("size"):
        return tuple(contract["size"])
    least = _TYPICAL[contract["rank"]]
    return tuple(math.ceil(least / multiple) * multiple for multiple in contract["multiple"])


def infer(graph: Mapping[str, Any], tensors: Mapping[str, Shape], size: Sequence[int]) -> dict[str, Shape]:
    """Shape of every value of a graph, the input's included.

    Args:
        graph: of a package.
        tensors: shape of each tensor.
        size: ([D,] H, W) of the input.
    Raises: ShapeError: a size that the network does not take; ValueRangeError: an op outside the list.
    """
    given = graph["inputs"][0]
    if len(size) != given["rank"]:
        raise ShapeError(describe("size", tuple(size), f"{given['rank']} numbers"))
    shapes: dict[str, Shape] = {given["name"]: (given["channels"], *size)}
    for node in graph["nodes"]:
        if node["op"] not in _RULES:
            raise ValueRangeError(describe("op", repr(node["op"]), f"one of {', '.join(sorted(_RULES))}"))
        shape = _RULES[node["op"]](node, [shapes[name] for name in node["inputs"]], tensors)
        if min(shape) < 1 or max(shape) > _LARGEST:
            raise ShapeError(describe("size", tuple(size), f"one that {node['output']} can have: it gets {shape}"))
        shapes[node["output"]] = shape
    return shapes


def multiply_adds(node: Node, inputs: Sequence[Shape], output: Shape, tensors: Mapping[str, Shape]) -> int:
    """Multiply-adds of a convolution for one image; 0 for every other op, as papers count."""
    if node["op"] not in ("conv", "conv_transpose"):
        return 0
    positions = output[1:] if node["op"] == "conv" else inputs[0][1:]
    return math.prod(tensors[node["weight"]]) * math.prod(positions)


def moved_bytes(node: Node, inputs: Sequence[Shape], output: Shape, tensors: Mapping[str, Shape]) -> int:
    """float32 bytes that a node by itself reads and writes for one image, its tensors included."""
    read = {"slice": [output], "resize": inputs[:1], "resize_nearest": inputs[:1]}.get(node["op"], inputs)
    held = [tensors[node[key]] for key in TENSORS if isinstance(node.get(key), str)]
    return 4 * sum(math.prod(shape) for shape in (*read, output, *held))


def parameters(node: Node, tensors: Mapping[str, Shape]) -> int:
    """Numbers in a node's tensors."""
    return sum(math.prod(tensors[node[key]]) for key in TENSORS if isinstance(node.get(key), str))


def _conv(node: Node, x: Sequence[Shape], tensors: Mapping[str, Shape]) -> Shape:
    weight = tensors[node["weight"]]
    window = zip(x[0][1:], weight[2:], node["stride"], node["padding"], node["dilation"], strict=True)
    return weight[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in window)


def _conv_transpose(node: Node, x: Sequence[Shape], tensors: Mapping[str, Shape]) -> Shape:
    weight, extra = tensors[node["weight"]], node["output_padding"]
    window = zip(x[0][1:], weight[2:], node["stride"], node["padding"], node["dilation"], extra, strict=True)
    sizes = ((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in window)
    return weight[1] * node["groups"], *sizes


def _pool(node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    dilation = node.get("dilation", [1] * len(node["kernel"]))
    sizes = []
    for n, k, s, p, d in zip(x[0][1:], node["kernel"], node["stride"], node["padding"], dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if node["ceil_mode"] else room // s) + 1
        begins_behind = node["ceil_mode"] and (count - 1) * s >= n + p  # a window in the padding alone does not count
        sizes.append(count - begins_behind)
    return x[0][0], *sizes


def _adaptive_pool(node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return x[0][0], *node["size"]


def _resize(node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    if len(x) == 2:
        return x[0][0], *x[1][1:]
    return x[0][0], *(math.floor(n * factor) for n, factor in zip(x[0][1:], node["factor"], strict=True))


def _pad(node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return x[0][0], *(n + b + a for n, b, a in zip(x[0][1:], node["before"], node["after"], strict=True))


def _same(_node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return x[0]


def _of_one_size(x: Sequence[Shape]) -> Shape:
    if any(shape[1:] != x[0][1:] for shape in x):
        sizes = " and ".join(str(shape[1:]) for shape in x)
        raise ShapeError(
            describe("inputs", f"sizes {sizes}", "the same", "the network may need a multiple of its stride")
        )
    return x[0][1:]


def _binary(_node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return max(shape[0] for shape in x), *_of_one_size(x)


def _concat(_node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return sum(shape[0] for shape in x), *_of_one_size(x)


def _slice(node: Node, x: Sequence[Shape], _: Mapping[str, Shape]) -> Shape:
    return node["count"], *x[0][1:]


_RULES: dict[str, Rule] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    **dict.fromkeys(("avg_pool", "max_pool"), _pool),
    **dict.fromkeys(("adaptive_avg_pool", "adaptive_max_pool"), _adaptive_pool),
    **dict.fromkeys(("resize", "resize_nearest"), _resize),
    "pad": _pad,
    **dict.fromkeys(
        ("group_norm", "prelu", "leaky_relu", "relu", "sigmoid", "affine", "softmax", "log_softmax"), _same
    ),
    **dict.fromkeys(("add", "sub", "mul"), _binary),
    "concat": _concat,
    "slice": _slice,
}
