"""From a traced torch graph to the graph of a model package: one function an op; `simplify` makes it fast later.

The trace is that of torch.export without decomposition: nodes of aten ops on tensors whose sizes are symbols. Values
keep the trace's names; tensors get the names of the modules that hold them. The ops stand in `lowering_ops`.
"""

# torch is not followed by the type checker: its nodes are Any.
# mypy: no-warn-return-any

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from covfast.errors import ValueRangeError, describe

Tensors = dict[str, npt.NDArray[np.float64]]
Lower = Callable[["Lowering", Any, Mapping[str, Any]], None]
"""Writes the nodes of one op: (lowering, node of the trace, its arguments by name)."""


class Lowering:
    """Lowers one trace.

    Args:
        program: torch.export.ExportedProgram of a module with one (N, C, [D,] H, W) input.
        ops: how each aten op is lowered.

    Attributes:
        nodes: of the package's graph, in order.
        tensors: float64, by name.
        input_name, output_name: values; the output is the module's first.
    """

    def __init__(self, program: Any, ops: Mapping[str, Lower]) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.tensors: Tensors = {}
        self.input_name = ""
        self.output_name = ""
        self._ops = ops
        self._values: dict[str, str] = {}  # node of the trace -> value of the graph
        self._parts: dict[str, list[str]] = {}  # node that is a list of tensors -> values
        self._traced: dict[str, Any] = {}  # value -> node of the trace
        self._constants = _constants(program)
        self._names = {node.name: target for node, target in _targets(program)}
        self._input = set(program.graph_signature.user_inputs)
        for node in program.graph.nodes:
            self._lower(node)
        self._drop_unused()

    def _lower(self, node: Any) -> None:
        if node.op == "placeholder":
            if node.name in self._input:
                self.input_name = node.name
                self._bind(node, node.name)
        elif node.op == "output":
            self.output_name = self.value(_first(node.args[0]), node)
        elif node.target is operator.getitem:
            parts = self._parts.get(node.args[0].name, [])
            if node.args[1] < len(parts):  # what follows, such as the places of maxima, has no value
                self._bind(node, parts[node.args[1]])
        elif _is_tensor(node):
            name = op_name(node)
            if name not in self._ops:
                self.refuse(node, f"the op {name}", f"one of {', '.join(sorted(self._ops))}")
            self._ops[name](self, node, arguments(node))

    def refuse(self, node: Any, got: str, expected: str) -> NoReturn:
        """Raise the error of something that cannot be lowered, naming where it is."""
        raise ValueRangeError(describe("module", f"{got} in {place(node)}", expected))

    def _bind(self, node: Any, value: str) -> None:
        self._values[node.name] = value
        self._traced.setdefault(value, node)

    def is_value(self, argument: Any) -> bool:
        """Whether an argument of the trace is computed from the input."""
        return getattr(argument, "name", None) in self._values

    def value(self, argument: Any, node: Any) -> str:
        """Name of the value that an argument of the trace is."""
        if not self.is_value(argument):
            self.refuse(node, f"the operand {argument}", "a tensor computed from the input")
        return self._values[argument.name]

    def constant(self, argument: Any) -> npt.NDArray[np.float64] | None:
        """A parameter or buffer as float64; None for what is no constant."""
        found = self._constants.get(getattr(argument, "name", None))
        return None if found is None else found.detach().cpu().double().numpy()

    def add(self, node: Any, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Append a node whose output has the name of the trace's node."""
        self.nodes.append({"op": op, "inputs": list(inputs), "output": node.name, **attributes})
        self._bind(node, node.name)

    def insert(self, node: Any, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node that the trace has not, on the way to the given one; the value that it makes."""
        output = f"{node.name}.{op}"
        self.nodes.append({"op": op, "inputs": list(inputs), "output": output, **attributes})
        return output

    def add_first(self, node: Any, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Append a node whose output is the first of the list that the trace's node gives, to be taken by getitem."""
        self._parts[node.name] = [self.insert(node, op, inputs, **attributes)]

    def add_list(self, node: Any, parts: Sequence[tuple[str, int, int]]) -> None:
        """Append slices (input, first, count), to be taken by getitem."""
        self._parts[node.name] = []
        for index, (source, first, count) in enumerate(parts):
            output = f"{node.name}.{index}"
            self.nodes.append({"op": "slice", "inputs": [source], "output": output, "first": first, "count": count})
            self._parts[node.name].append(output)

    def same(self, node: Any, value: str) -> None:
        """Bind a node that changes nothing."""
        self._bind(node, value)

    def rebind(self, argument: Any, node: Any) -> None:
        """After an op in place: later readers of the argument get the node's value."""
        self._values[argument.name] = self._values[node.name]

    def keep(self, name: str, tensor: npt.NDArray[np.float64]) -> str:
        """Keep a tensor under this name, or under one like it where the name is taken by other numbers."""
        chosen, count = name, 1
        while chosen in self.tensors and not np.array_equal(self.tensors[chosen], tensor):
            count += 1
            chosen = f"{name}.{count}"
        self.tensors[chosen] = tensor
        return chosen

    def module_name(self, argument: Any, node: Any) -> str:
        """Name of a parameter as the module has it, else of the node's place."""
        return self._names.get(getattr(argument, "name", ""), f"{node.name}.tensor")

    def like(self, node: Any) -> str | None:
        """The latest value whose size is, symbol for symbol, that of the node."""
        size = spatial(node)
        return next((value for value, traced in reversed(self._traced.items()) if spatial(traced) == size), None)

    def _drop_unused(self) -> None:
        """Leave only what the output needs."""
        needed, kept = {self.output_name}, []
        for node in reversed(self.nodes):
            if node["output"] in needed:
                kept.append(node)
                needed.update(node["inputs"])
        self.nodes = kept[::-1]
        used = {text for node in self.nodes for text in node.values() if isinstance(text, str)}
        self.tensors = {name: tensor for name, tensor in self.tensors.items() if name in used}


def _constants(program: Any) -> dict[str | None, Any]:
    """Placeholder name -> tensor, for parameters, buffers and lifted constants."""
    held = {**program.state_dict, **program.constants}
    return {node.name: held[target] for node, target in _targets(program) if target in held}


def _targets(program: Any) -> list[tuple[Any, str]]:
    """(placeholder, name in the module) of everything that is no input."""
    specs = program.graph_signature.input_specs
    places = [node for node in program.graph.nodes if node.op == "placeholder"]
    return [(node, str(spec.target)) for node, spec in zip(places, specs, strict=True) if spec.target is not None]


def _first(output: Any) -> Any:
    while isinstance(output, (tuple, list)):
        output = output[0]
    return output


def _is_tensor(node: Any) -> bool:
    value = node.meta.get("val")
    return hasattr(value, "shape") or (isinstance(value, (list, tuple)) and any(hasattr(v, "shape") for v in value))


def spatial(node: Any) -> list[str]:
    """Sizes of a node of the trace along D, H, W, symbols written out."""
    return [str(n) for n in node.meta["val"].shape[2:]]


def whole_number(value: Any) -> int | None:
    """An int, or the one that a symbolic size or a node that computes it always is; None for what varies."""
    held = value.meta["val"] if hasattr(value, "meta") else value
    if isinstance(held, int) or not hasattr(held, "node"):
        return int(held) if isinstance(held, int) else None
    expression = held.node.expr.simplify()
    return int(expression) if expression.is_number else None


def op_name(node: Any) -> str:
    """ "conv2d" of aten.conv2d.default; in-place ops keep their "_"."""
    schema = getattr(node.target, "_schema", None)
    return str(node.target) if schema is None else schema.name.removeprefix("aten::")


def place(node: Any) -> str:
    """Where in the module a node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return f"module '{stack[-1][0]}' ({node.name})" if stack and stack[-1][0] else f"the module ({node.name})"


def arguments(node: Any) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    filled = {}
    for index, argument in enumerate(node.target._schema.arguments):
        given = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        filled[argument.name] = given
    return filled
