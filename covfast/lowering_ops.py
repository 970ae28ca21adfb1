"""How each aten op of a trace becomes nodes of a package's graph; `OPS` is the closed list.

Those whose outputs see a neighbourhood, or whole images, stand in `lowering_windows`.
"""

# torch is not followed by the type checker: its nodes are Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import lowering_windows as windows
from covfast.lowering import Lower, Lowering, op_name, spatial, whole_number


def _rank(node: Any) -> int:
    return len(node.meta["val"].shape) - 2


def _over_channels(low: Lowering, node: Any, axis: int, what: str) -> None:
    """Refuse an op along another axis than the channels."""
    first = node.meta["val"][0] if isinstance(node.meta["val"], (list, tuple)) else node.meta["val"]
    if axis % len(first.shape) != 1:
        low.refuse(node, f"{what} axis {axis}", "the channels, axis 1")


def _plain(op: str) -> Lower:
    def lower(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
        low.add(node, op, [low.value(a["self"], node)])
        if op_name(node).endswith("_"):
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
    if op_name(node).endswith("_"):
        low.rebind(a["self"], node)


def _softmax(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    _over_channels(low, node, a["dim"], "a softmax over")
    low.add(node, op_name(node), [low.value(a["self"], node)])


def _same(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    low.same(node, low.value(a.get("self", a.get("input")), node))


def _binary(op: str) -> Lower:
    def lower(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
        if a.get("alpha", 1) != 1:
            low.refuse(node, f"{op} with alpha {a['alpha']}", "1")
        name = op_name(node)
        first, second = a["self"], a["other"]
        is_reversed = name == "rsub"
        if not low.is_value(first):
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
        operands = [_spread(low, node, argument) for argument in (first, second)]
        low.add(node, op, operands[::-1] if is_reversed else operands)
    else:
        _add_constant(low, node, op, source, constant, is_reversed)


def _spread(low: Lowering, node: Any, argument: Any) -> str:
    """Value of an operand, repeated along the axes where it has one sample and the node more."""
    source, given, wanted = low.value(argument, node), spatial(argument), spatial(node)
    if len(given) != len(wanted):
        low.refuse(node, f"an operand with {len(given)} spatial axes", f"{len(wanted)}")
    if not any(n == "1" != m for n, m in zip(given, wanted, strict=True)):
        return source  # other differences are two ways to write one size, or an error when it runs
    like = low.like(node)
    if like is None:
        low.refuse(node, f"an operand of size {given}", f"beside one of size {wanted}")
    return low.insert(node, "resize_nearest", [source, like], exact=False)


def _add_constant(
    low: Lowering, node: Any, op: str, source: str, constant: npt.NDArray[np.float64], is_reversed: bool
) -> None:
    if constant.size == 1:
        extra = {"reversed": True} if is_reversed else {}
        low.add(node, op, [source], scalar=float(constant.reshape(())), **extra)
        return
    channels, rank = node.meta["val"].shape[1], _rank(node)
    if constant.size != channels or constant.shape[-rank - 1 :] != (channels, *[1] * rank):
        low.refuse(node, f"{op} with a constant of shape {constant.shape}", "one number, or one per channel")
    flat, ones = constant.reshape(-1), np.ones(channels)
    scale = flat if op == "mul" else -ones if is_reversed else ones
    shift = 0 * ones if op == "mul" else -flat if op == "sub" and not is_reversed else flat
    keep = [low.keep(f"{node.name}.{key}", value) for key, value in (("scale", scale), ("shift", shift))]
    low.add(node, "affine", [source], scale=keep[0], shift=keep[1])


def _div(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    """By a number or a constant: the product with its inverse."""
    other = a["other"]
    constant = np.asarray(float(other)) if isinstance(other, (int, float)) else low.constant(other)
    if constant is None or a.get("rounding_mode") is not None or not constant.all():
        low.refuse(node, "a division by a tensor or 0, or a rounded one", "one by numbers other than 0")
    _add_constant(low, node, "mul", low.value(a["self"], node), 1 / constant, False)
    if op_name(node).endswith("_"):
        low.rebind(a["self"], node)


def _neg(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    low.add(node, "mul", [low.value(a["self"], node)], scalar=-1.0)


def _expand(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    given, shape = a["self"].meta["val"].shape, node.meta["val"].shape
    if len(given) != len(shape) or str(given[0]) != str(shape[0]):
        low.refuse(node, f"an expansion of {list(given)} to {list(shape)}", "one of channels and sizes")
    source = _spread(low, node, a["self"])
    if str(given[1]) == str(shape[1]) or all(_takes_one_channel(low, node, reader) for reader in node.users):
        low.same(node, source)
    else:
        low.add(node, "concat", [source] * int(shape[1]))


def _takes_one_channel(low: Lowering, node: Any, reader: Any) -> bool:
    """Whether a reader of an expansion repeats its one channel by itself, beside an operand that has them all."""
    others = [argument for argument in reader.args if argument is not node]
    return (
        reader.op == "call_function"
        and op_name(reader) in ("add", "sub", "rsub", "mul")
        and len(others) == 1
        and hasattr(others[0], "meta")
        and low.constant(others[0]) is None
        and op_name(others[0]) not in ("expand", "expand_as")
        and str(others[0].meta["val"].shape[1:2]) == str(node.meta["val"].shape[1:2])
    )


def _cat(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    _over_channels(low, node, a["dim"], "a concatenation along")
    low.add(node, "concat", [low.value(tensor, node) for tensor in a["tensors"]])


def _split(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    _over_channels(low, node, a["dim"], "a split along")
    source = low.value(a["self"], node)
    first, parts = 0, []
    for part in node.meta["val"]:
        parts.append((source, first, int(part.shape[1])))
        first += int(part.shape[1])
    low.add_list(node, parts)


def _slice(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    source = low.value(a["self"], node)
    given, shape = a["self"].meta["val"].shape, node.meta["val"].shape
    if [str(n) for n in given] == [str(n) for n in shape]:
        low.same(node, source)
        return
    axis = a["dim"] % len(shape)
    if axis == 0 or a.get("step", 1) != 1:
        low.refuse(node, f"a slice along axis {a['dim']} by {a.get('step', 1)}", "consecutive channels or rows")
    if axis > 1:
        windows.crop(low, node, a, axis)
        return
    first = whole_number(a["start"] or 0)
    if first is None:
        low.refuse(node, f"a slice from {a['start']}", "a number")
    low.add(node, "slice", [source], first=first % int(given[1]), count=int(shape[1]))


OPS: dict[str, Lower] = {
    **windows.OPS,
    "prelu": _prelu,
    **dict.fromkeys(("relu", "relu_"), _plain("relu")),
    **dict.fromkeys(("leaky_relu", "leaky_relu_"), _leaky_relu),
    **dict.fromkeys(("sigmoid", "sigmoid_"), _plain("sigmoid")),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("add", "add_"), _binary("add")),
    **dict.fromkeys(("sub", "sub_", "rsub"), _binary("sub")),
    **dict.fromkeys(("mul", "mul_"), _binary("mul")),
    **dict.fromkeys(("div", "div_"), _div),
    "neg": _neg,
    **dict.fromkeys(("expand", "expand_as"), _expand),
    "cat": _cat,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _split),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _same),
    **dict.fromkeys(("alias", "clone", "contiguous", "detach", "detach_"), _same),
}
"""Lowering of each aten op, in evaluation mode."""
