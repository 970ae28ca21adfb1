"""How each aten op of a trace becomes nodes of a package's graph; `OPS` is the closed list."""

# torch is not followed by the type checker: its nodes are Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.lowering import Lower, Lowering, op_name


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
        low.add(
            node, "affine", [source], scale=low.keep(f"{name}.scale", scale), shift=low.keep(f"{name}.shift", shift)
        )


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
    sizes = zip(node.meta["val"].shape[2:], a["input"].meta["val"].shape[2:], strict=True)
    factor = [_ratio(out, size) for out, size in sizes]
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
    if a["dim"] not in (1, 1 - len(node.meta["val"].shape)):
        low.refuse(node, f"a softmax over axis {a['dim']}", "the channels, axis 1")
    low.add(node, "softmax", [low.value(a["self"], node)])


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
