"""Exact algebra on the graph of a model package: fewer nodes and less work, the same answer up to rounding.

Each rule of `simplify_rules` looks for one pattern and replaces it, until none fits. Tensors are float64 meanwhile and
are rounded once, at the end. Values that stay keep their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import package, shapes

Node = dict[str, Any]
Tensor = npt.NDArray[np.float64]

RESIZES = ("resize", "resize_nearest")


def simplify(
    graph: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], size: Sequence[int]
) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.float32]]]:
    """The graph and tensors that give the same answer with less work.

    Args:
        graph: of a package; left as it is.
        tensors: by name, float32 or float64; left as they are.
        size: ([D,] H, W) that the work is counted for; the answer is the same for every size.
    Returns: graph and float32 tensors.
    Raises: ShapeError: the network does not take `size`.
    """
    from covfast.simplify_rules import RULES

    work = Rewriting(graph, tensors, size)
    while any(rule(work) for rule in RULES):
        pass
    return work.graph(), work.rounded()


def simplify_package(source: package.StrPath, target: package.StrPath | None = None) -> Path:
    """Write a package again with its graph simplified, and a note of that in its provenance.

    Args:
        source: a package.
        target: where to; None for in its place.
    Returns: `target`.
    Raises: FormatError, WeightsError: the package; OutputError: not written.
    """
    tensors, held = package.read_tensors(source), package.read_metadata(source)
    graph, kept = simplify(held["graph"], tensors, shapes.typical_size(held["input"]))
    return package.write(
        target or source,
        kept,
        graph,
        recipe=held["recipe"],
        labels={int(value): label for value, label in held["labels"].items()},
        input_contract=held["input"],
        licence=held["licence"],
        provenance={
            **held["provenance"],
            "graph": "simplified by exact algebra (covfast.simplify) from what was written",
        },
        name=held["name"],
    )


def read_values(node: Mapping[str, Any]) -> list[str]:
    """The values whose numbers a node reads; of others it only takes the size."""
    return list(node["inputs"][:1] if node["op"] in RESIZES else node["inputs"])


def tensor_names(node: Mapping[str, Any]) -> list[str]:
    """Names of a node's tensors."""
    return [node[key] for key in shapes.TENSORS if isinstance(node.get(key), str)]


class Rewriting:
    """A graph and its tensors while rules change them.

    Attributes:
        nodes: in topological order.
        output: the value that the network answers with.
        shapes: of every value, at the size that the work is counted for.
    """

    def __init__(self, graph: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]], size: Sequence[int]) -> None:
        self._graph = graph
        self._size = tuple(size)
        self._tensors: dict[str, Tensor] = {name: np.asarray(held, np.float64) for name, held in tensors.items()}
        self.nodes: list[Node] = [dict(node) for node in graph["nodes"]]
        self.output: str = graph["outputs"][0]
        self._settle()

    def graph(self) -> dict[str, Any]:
        """The graph as it is now."""
        return {**self._graph, "nodes": self.nodes, "outputs": [self.output]}

    def rounded(self) -> dict[str, npt.NDArray[np.float32]]:
        """The tensors as they are now, in float32."""
        return {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in self._tensors.items()}

    def maker(self, value: str) -> Node | None:
        """The node that makes a value; None for the network's input."""
        return self._makers.get(value)

    def readers(self, value: str) -> list[Node]:
        """The nodes that read a value's numbers, each as often as it does."""
        return self._readers.get(value, [])

    def only_reader(self, value: str) -> Node | None:
        """The node that alone reads a value, once; None where the network answers with it."""
        found = self.readers(value)
        return found[0] if len(found) == 1 and value != self.output else None

    def channels(self, value: str) -> int:
        """Channels of a value."""
        return self.shapes[value][0]

    def tensor(self, node: Node, key: str) -> Tensor | None:
        """A node's tensor; None where it has none."""
        return self._tensors[node[key]] if key in node else None

    def keep(self, name: str, tensor: Tensor, instead_of: Iterable[Node]) -> str:
        """Keep a tensor under this name, or one like it where nodes beside `instead_of` have other numbers there."""
        going = [id(node) for node in instead_of]
        taken = {held for node in self.nodes if id(node) not in going for held in tensor_names(node)}
        chosen, count = name, 1
        while chosen in taken and not np.array_equal(self._tensors[chosen], tensor):
            count += 1
            chosen = f"{name}.{count}"
        self._tensors[chosen] = tensor
        return chosen

    def replace(self, old: Sequence[Node], new: Sequence[Node], same_size: str) -> None:
        """Put nodes where the first of others stands.

        Args:
            old: nodes that go. What reads them, beside each other, `new` makes under the same names.
            new: nodes; all that they read is made before the first of `old`.
            same_size: value of the size of each value that goes, for resizes to that size.
        """
        going = [id(node) for node in old]
        first = min(index for index, node in enumerate(self.nodes) if id(node) in going)
        rest = [node for node in self.nodes[first:] if id(node) not in going]
        self.nodes = [*self.nodes[:first], *new, *rest]
        lost = {node["output"] for node in old} - {node["output"] for node in new}
        for node in self.nodes:
            if node["op"] in RESIZES and node["inputs"][-1] in lost:
                node["inputs"] = [*node["inputs"][:-1], same_size]
        self._settle()

    def rename(self, value: str, by: str) -> None:
        """Let another value of the same shape, made earlier, stand for a value, whose node goes."""
        for node in self.nodes:
            node["inputs"] = [by if name == value else name for name in node["inputs"]]
        self._settle()

    def _settle(self) -> None:
        """Drop what nothing needs; note anew who makes and reads what, and the shapes."""
        needed = {self.output}
        for node in reversed(self.nodes):
            if node["output"] in needed:
                needed.update(node["inputs"])
        self.nodes = [node for node in self.nodes if node["output"] in needed]
        used = {name for node in self.nodes for name in tensor_names(node)}
        self._tensors = {name: tensor for name, tensor in self._tensors.items() if name in used}
        self.shapes = shapes.infer(self.graph(), {name: t.shape for name, t in self._tensors.items()}, self._size)
        self._makers = {node["output"]: node for node in self.nodes}
        self._readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in read_values(node):
                self._readers.setdefault(value, []).append(node)
