"""From a traced torch graph to the graph of a model package: one function an op, BatchNorm folded into convolutions.

The trace is that of torch.export without decomposition: nodes of aten ops on tensors whose sizes are symbols. Values keep
the trace's names; tensors get the names of the modules that hold them.
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

Tensors = dict[str, npt.NDArray[np.float32]]


class Lowering:
    """Lowers one trace.

    Args:
        program: torch.export.ExportedProgram of a module with one (N, C, [D,] H, W) input.

    Attributes:
        nodes: of the package's graph, in order.
        tensors: float32, by name.
        input_name, output_name: values; the output is the module's first.
    """

    def __init__(self, program: Any) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.tensors: Tensors = {}
        self.input_name = ""
        self.output_name = ""
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
            parts = self._parts.get(node.args[0].name)
            if parts is not None:
                self._bind(node, parts[node.args[1]])
        elif _is_tensor(node):
            name = _op_name(node.target)
            if name not in OPS:
                self.refuse(node, f"the op {name}", f"one of {', '.join(sorted(OPS))}")
            OPS[name](self, node, arguments(node))

    def refuse(self, node: Any, got: str, expected: str) -> NoReturn:
        """Raise the error of something that cannot be lowered, naming where it is."""
        raise ValueRangeError(describe("module", f"{got} in {place(node)}", expected))

    def _bind(self, node: Any, value: str) -> None:
        self._values[node.name] = value
        self._traced.setdefault(value, node)

    def value(self, argument: Any, node: Any) -> str:
        """Name of the value that an argument of the trace is."""
        name = getattr(argument, "name", None)
        if name not in self._values:
            self.refuse(node, f"the operand {argument}", "a tensor computed from the input")
        return self._values[str(name)]

    def constant(self, argument: Any) -> npt.NDArray[np.float64] | None:
        """A parameter or buffer as float64; None for what is no constant."""
        found = self._constants.get(getattr(argument, "name", None))
        return None if found is None else found.detach().cpu().double().numpy()

    def add(self, node: Any, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Append a node whose output has the name of the trace's node."""
        self.nodes.append({"op": op, "inputs": list(inputs), "output": node.name, **attributes})
        self._bind(node, node.name)

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
        array = np.ascontiguousarray(tensor, dtype=np.float32)
        chosen, count = name, 1
        while chosen in self.tensors and not np.array_equal(self.tensors[chosen], array):
            count += 1
            chosen = f"{name}.{count}"
        self.tensors[chosen] = array
        return chosen

    def module_name(self, argument: Any, node: Any) -> str:
        """Name of a parameter as the module has it, else of the node's place."""
        return self._names.get(getattr(argument, "name", ""), f"{node.name}.tensor")

    def node_of(self, value: str) -> dict[str, Any] | None:
        """The node that makes a value, if nothing but the caller's op will read it."""
        made = next((n for n in reversed(self.nodes) if n["output"] == value), None)
        read = sum(value in n["inputs"] for n in self.nodes)
        traced = self._traced.get(value)
        is_private = made is not None and read == 0 and traced is not None and len(traced.users) == 1
        return made if is_private else None

    def rename_output(self, made: dict[str, Any], node: Any) -> None:
        """Let the last node written stand for this node of the trace too."""
        self._bind(node, made["output"])
        self._traced[made["output"]] = node

    def like(self, node: Any) -> str | None:
        """The latest value whose size is, symbol for symbol, that of the node."""
        size = [str(n) for n in node.meta["val"].shape[2:]]
        for value, traced in reversed(self._traced.items()):
            if [str(n) for n in traced.meta["val"].shape[2:]] == size:
                return value
        return None

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


def _op_name(target: Any) -> str:
    """"conv2d" of aten.conv2d.default; in-place ops keep their "_"."""
    schema = getattr(target, "_schema", None)
    return str(target) if schema is None else schema.name.removeprefix("aten::")


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


Lower = Callable[[Lowering, Any, Mapping[str, Any]], None]


def _axes(value: Any, rank: int) -> list[int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(n) for n in (numbers * rank if len(numbers) == 1 else numbers)]


def _rank(node: Any) -> int:
    return len(node.meta["val"].shape) - 2


def _conv(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    weight, bias = low.constant(a["weight"]), low.constant(a["bias"])
    if weight is None or isinstance(a["padding"], str):
        low.refuse(node, "a convolution with computed weights or padding given by name", "parameters and numbers")
    rank = _rank(node)
    name = low.module_name(a["weight"], node)
    attributes: dict[str, Any] = {"weight": low.keep(name, weight)}
    if bias is not None:
        attributes["bias"] = low.keep(low.module_name(a["bias"], node), bias)
    for key in ("stride", "padding", "dilation"):
        attributes[key] = _axes(a[key], rank)
    low.add(node, "conv", [low.value(a["input"], node)], **attributes, groups=int(a["groups"]))


def _batch_norm(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    mean, variance = low.constant(a["running_mean"]), low.constant(a["running_var"])
    if mean is None or variance is None or a["training"]:
        low.refuse(node, "a BatchNorm without running statistics", "one in evaluation mode")
    weight, bias = low.constant(a["weight"]), low.constant(a["bias"])
    scale = (1.0 if weight is None else weight) / np.sqrt(variance + a["eps"])
    shift = (0.0 if bias is None else bias) - mean * scale
    source = low.value(a["input"], node)
    made = low.node_of(source)
    if made is not None and made["op"] == "conv":
        _fold(low, made, scale, shift)
        low.rename_output(made, node)
    else:
        name = low.module_name(a["running_mean"], node).removesuffix(".running_mean")
        low.add(node, "affine", [source], scale=low.keep(f"{name}.scale", scale), shift=low.keep(f"{name}.shift", shift))


def _fold(low: Lowering, conv: dict[str, Any], scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]) -> None:
    """w' = w s, b' = b s + t, in float64."""
    weight = low.tensors[conv["weight"]].astype(np.float64)
    bias = low.tensors[conv["bias"]].astype(np.float64) if "bias" in conv else np.zeros(len(scale))
    name = conv["weight"]
    others = [n for n in low.nodes if n is not conv]
    for old in (conv["weight"], conv.get("bias")):  # a folded tensor goes unless another node shares it
        if old is not None and not any(old in n.values() for n in others):
            del low.tensors[old]
    conv["weight"] = low.keep(name, weight * scale.reshape(-1, *[1] * (weight.ndim - 1)))
    conv["bias"] = low.keep(f"{name.removesuffix('.weight')}.bias", bias * scale + shift)


def _avg_pool(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a["divisor_override"] is not None:
        low.refuse(node, "a pooling with divisor_override", "none")
    rank = _rank(node)
    kernel = _axes(a["kernel_size"], rank)
    low.add(
        node,
        "avg_pool",
        [low.value(a.get("self", a.get("input")), node)],
        kernel=kernel,
        stride=_axes(a["stride"], rank) if a["stride"] else kernel,
        padding=_axes(a["padding"], rank),
        ceil_mode=bool(a["ceil_mode"]),
        count_include_pad=bool(a["count_include_pad"]),
    )


def _resize(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    source = low.value(a["input"], node)
    align = bool(a["align_corners"])
    if a["scale_factors"] is not None:
        low.add(node, "resize", [source], align_corners=align, factor=[float(f) for f in a["scale_factors"]])
        return
    like = low.like(node)
    if like is not None:
        low.add(node, "resize", [source, like], align_corners=align)
        return
    factor = [_ratio(out, size) for out, size in zip(node.meta["val"].shape[2:], a["input"].meta["val"].shape[2:])]
    if any(f is None for f in factor):
        low.refuse(node, "a resize to a size of its own", "a factor, or the size of an earlier tensor")
    low.add(node, "resize", [source], align_corners=align, factor=factor)


def _ratio(out: Any, size: Any) -> float | None:
    """out / size where that is one number whatever the symbols."""
    if isinstance(out, int) or isinstance(size, int):
        return None
    ratio = (out.node.expr / size.node.expr).simplify()
    return float(ratio) if ratio.is_number else None


def _plain(op: str) -> Lower:
    def lower(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
        low.add(node, op, [low.value(a["self"], node)])
        if _op_name(node.target).endswith("_"):
            low.rebind(a["self"], node)

    return lower


def _prelu(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    slope = low.constant(a["weight"])
    if slope is None:
        low.refuse(node, "a PReLU with computed slopes", "parameters")
    channels = node.meta["val"].shape[1]
    name = low.module_name(a["weight"], node)
    low.add(node, "prelu", [low.value(a["self"], node)], slope=low.keep(name, np.broadcast_to(slope, (channels,))))


def _leaky_relu(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    low.add(node, "leaky_relu", [low.value(a["self"], node)], slope=float(a["negative_slope"]))
    if _op_name(node.target).endswith("_"):
        low.rebind(a["self"], node)


def _softmax(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a["dim"] not in (1, 1 - len(node.meta["val"].shape)):
        low.refuse(node, f"a softmax over axis {a['dim']}", "the channels, axis 1")
    low.add(node, "softmax", [low.value(a["self"], node)])


def _same(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    low.same(node, low.value(a.get("self", a.get("input")), node))


def _binary(op: str) -> Lower:
    def lower(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
        if a.get("alpha", 1) != 1:
            low.refuse(node, f"{op} with alpha {a['alpha']}", "1")
        name = _op_name(node.target)
        first, second = a["self"], a["other"]
        is_reversed = name == "rsub"
        if getattr(first, "name", None) not in low._values:
            first, second, is_reversed = second, first, op == "sub"
        _add_binary(low, node, op, first, second, is_reversed)
        if name.endswith("_"):
            low.rebind(a["self"], node)

    return lower


def _add_binary(low: Lowering, node: Any, op: str, first: Any, second: Any, is_reversed: bool) -> None:
    """`first` is a value; `second` a value, a number or a constant with one number or one per channel."""
    source = low.value(first, node)
    constant = np.asarray(float(second)) if isinstance(second, (int, float)) else low.constant(second)
    if constant is None:
        operands = [source, low.value(second, node)]
        low.add(node, op, operands[::-1] if is_reversed else operands)
    elif constant.size == 1:
        extra = {"reversed": True} if is_reversed else {}
        low.add(node, op, [source], scalar=float(constant.reshape(())), **extra)
    else:
        channels, rank = node.meta["val"].shape[1], _rank(node)
        if constant.size != channels or constant.shape[-rank - 1 :] != (channels, *[1] * rank):
            low.refuse(node, f"{op} with a constant of shape {constant.shape}", "one number, or one per channel")
        flat, ones = constant.reshape(-1), np.ones(channels)
        scale = flat if op == "mul" else -ones if is_reversed else ones
        shift = 0 * ones if op == "mul" else -flat if op == "sub" and not is_reversed else flat
        keep = [low.keep(f"{node.name}.{key}", value) for key, value in (("scale", scale), ("shift", shift))]
        low.add(node, "affine", [source], scale=keep[0], shift=keep[1])


def _cat(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a["dim"] not in (1, 1 - len(node.meta["val"].shape)):
        low.refuse(node, f"a concatenation along axis {a['dim']}", "the channels, axis 1")
    low.add(node, "concat", [low.value(tensor, node) for tensor in a["tensors"]])


def _split(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a["dim"] != 1:
        low.refuse(node, f"a split along axis {a['dim']}", "the channels, axis 1")
    source = low.value(a["self"], node)
    first, parts = 0, []
    for part in node.meta["val"]:
        parts.append((source, first, int(part.shape[1])))
        first += int(part.shape[1])
    low.add_list(node, parts)


def _slice(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    source = low.value(a["self"], node)
    if node.meta["val"].shape == a["self"].meta["val"].shape:
        low.same(node, source)
        return
    if a["dim"] != 1 or a.get("step", 1) != 1:
        low.refuse(node, f"a slice along axis {a['dim']}", "consecutive channels, axis 1")
    channels = int(a["self"].meta["val"].shape[1])
    first = int(a["start"] or 0)
    low.add(node, "slice", [source], first=first % channels, count=int(node.meta["val"].shape[1]))


OPS: dict[str, Lower] = {
    **dict.fromkeys(("conv2d", "conv3d"), _conv),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), _avg_pool),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_trilinear3d"), _resize),
    "prelu": _prelu,
    **dict.fromkeys(("relu", "relu_"), _plain("relu")),
    **dict.fromkeys(("leaky_relu", "leaky_relu_"), _leaky_relu),
    **dict.fromkeys(("sigmoid", "sigmoid_"), _plain("sigmoid")),
    "softmax": _softmax,
    **dict.fromkeys(("add", "add_"), _binary("add")),
    **dict.fromkeys(("sub", "sub_", "rsub"), _binary("sub")),
    **dict.fromkeys(("mul", "mul_"), _binary("mul")),
    "cat": _cat,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _split),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("dropout", "feature_dropout", "alias", "clone", "contiguous", "detach", "detach_"), _same),
}
"""Lowering of each aten op, in evaluation mode."""
