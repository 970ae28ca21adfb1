"""The layers of a package's network as a table: what each gives for one image of a size, and what it costs.

FLOPs are those of convolutions, 2 a multiply-add, biases left out, as papers count. Bytes are what each node by itself
would read and write in float32, its tensors included; the engine fuses nodes and moves fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covfast import shapes
from covfast.errors import ShapeError, describe

_NAME = 40  # characters of a layer's name that are shown


@dataclass(frozen=True)
class Layer:
    """One node of the graph.

    Attributes:
        name: of the module that holds its tensors, or of the value.
        op: with kernel, stride, dilation and groups, such as "conv 3x3 /2 g8".
        output: shape (channels, [D,] H, W).
        parameters: numbers in its tensors.
        flops: of one image.
        moved_bytes: read and written for one image.
    """

    name: str
    op: str
    output: shapes.Shape
    parameters: int
    flops: int
    moved_bytes: int


def layers(
    metadata: Mapping[str, Any], tensors: Mapping[str, shapes.Shape], size: Sequence[int] | None = None
) -> list[Layer]:
    """The layers of a package at one size of the input.

    Args:
        metadata: of the package.
        tensors: shape of each tensor.
        size: ([D,] H, W); None for the typical one.
    Raises: ShapeError: the network does not take this size.
    """
    graph, contract = metadata["graph"], metadata["input"]
    chosen = shapes.typical_size(contract) if size is None else tuple(size)
    fixed = contract.get("size") or chosen
    if len(chosen) != contract["rank"] or list(chosen) != list(fixed) or min(chosen) < 1:
        expected = f"{contract['rank']} numbers" if chosen == tuple(fixed) else str(tuple(fixed))
        raise ShapeError(describe("size", chosen, expected))
    if any(n % step for n, step in zip(chosen, contract["multiple"], strict=True)):
        raise ShapeError(describe("size", chosen, f"multiples of {tuple(contract['multiple'])}"))
    found = shapes.infer(graph, tensors, chosen)
    return [_layer(node, found, tensors) for node in graph["nodes"]]


def table(
    metadata: Mapping[str, Any], tensors: Mapping[str, shapes.Shape], size: Sequence[int] | None = None
) -> list[str]:
    """Lines of text: the layers in columns, and their sums. Arguments and errors as of `layers`."""
    rows = layers(metadata, tensors, size)
    names = [row.name if len(row.name) <= _NAME else f"{row.name[: _NAME - 3]}..." for row in rows]
    outputs = [_text(row.output) for row in rows]
    wide = [max(map(len, ["layer", *names])), max(len(row.op) for row in rows), max(map(len, ["output", *outputs]))]
    head = f"{'layer':{wide[0]}}  {'op':{wide[1]}}  {'output':>{wide[2]}}  {'parameters':>10}  {'MFLOP':>10}  {'MB':>9}"
    lines = [f"{head}   for one image"]
    for row, name, output in zip(rows, names, outputs, strict=True):
        parameters = f"{row.parameters:,}" if row.parameters else ""
        work = f"{row.flops / 1e6:,.3f}" if row.flops else ""
        text = f"{name:{wide[0]}}  {row.op:{wide[1]}}  {output:>{wide[2]}}  {parameters:>10}  {work:>10}"
        lines.append(f"{text}  {row.moved_bytes / 1e6:9,.3f}")
    flops, moved = sum(row.flops for row in rows), sum(row.moved_bytes for row in rows)
    total = f"{sum(row.parameters for row in rows):,} parameters, {flops / 1e9:,.4f} GFLOP, {moved / 1e6:,.1f} MB moved"
    return [*lines, f"{len(rows)} layers, {total} layer by layer, input {_text(_input(metadata, size))}"]


def _input(metadata: Mapping[str, Any], size: Sequence[int] | None) -> shapes.Shape:
    return metadata["input"]["channels"], *(shapes.typical_size(metadata["input"]) if size is None else size)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _layer(node: shapes.Node, found: Mapping[str, shapes.Shape], tensors: Mapping[str, shapes.Shape]) -> Layer:
    inputs, output = [found[name] for name in node["inputs"]], found[node["output"]]
    held = next((node[key] for key in shapes.TENSORS if isinstance(node.get(key), str)), "")
    modules = [name.rpartition(".")[0] or name for name in held.split("+")]  # of merged convolutions several
    return Layer(
        name="+".join(modules) or node["output"],
        op=_op(node, tensors),
        output=output,
        parameters=shapes.parameters(node, tensors),
        flops=2 * shapes.multiply_adds(node, inputs, output, tensors),
        moved_bytes=shapes.moved_bytes(node, inputs, output, tensors),
    )


def _op(node: shapes.Node, tensors: Mapping[str, shapes.Shape]) -> str:
    """The op and what is not 1 of its window: "conv 3x3 /2 d4 g8"."""
    parts = [node["op"]]
    kernel = tensors[node["weight"]][2:] if "stride" in node and "weight" in node else node.get("kernel")
    if kernel is not None:
        parts.append(_text(kernel))
        for mark, key in (("/", "stride"), ("d", "dilation")):
            numbers = node.get(key, [1])
            if set(numbers) != {1}:
                parts.append(mark + (str(numbers[0]) if len(set(numbers)) == 1 else _text(numbers)))
        if node.get("groups", 1) != 1:
            parts.append(f"g{node['groups']}")
    return " ".join(parts)
