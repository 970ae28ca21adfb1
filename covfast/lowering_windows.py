"""Lowering of ops whose outputs see a neighbourhood or a whole image: convolution, norm, pooling, resize, padding."""

# torch is not followed by the type checker: its nodes are Any.
# mypy: no-warn-return-any

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covfast.lowering import Lower, Lowering, op_name, whole_number

_MULTIPLE = "; give multiple= where it needs one"  # ends messages about numbers that vary with the size
_TO_THE_END = 1 << 62  # end of a slice that has none, or more


def _axes(value: Any, rank: int) -> list[int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(n) for n in (numbers * rank if len(numbers) == 1 else numbers)]


def _rank(node: Any) -> int:
    first = node.meta["val"][0] if isinstance(node.meta["val"], (list, tuple)) else node.meta["val"]
    return len(first.shape) - 2


def _conv(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    weight, bias = low.constant(a["weight"]), low.constant(a["bias"])
    if weight is None:
        low.refuse(node, "a convolution with computed weights", "parameters")
    rank, source = _rank(node), low.value(a["input"], node)
    attributes: dict[str, Any] = {"weight": low.keep(low.module_name(a["weight"], node), weight)}
    if bias is not None:
        attributes["bias"] = low.keep(low.module_name(a["bias"], node), bias)
    for key in ("stride", "dilation"):
        attributes[key] = _axes(a[key], rank)
    if isinstance(a["padding"], str):
        reach = [d * (k - 1) for d, k in zip(attributes["dilation"], weight.shape[2:], strict=True)]
        before = [n // 2 if a["padding"] == "same" else 0 for n in reach]
        extra = [n % 2 if a["padding"] == "same" else 0 for n in reach]
        if any(extra):  # "same" puts the odd one behind
            source = low.insert(node, "pad", [source], before=[0] * rank, after=extra, value=0.0)
    else:
        before = _axes(a["padding"], rank)
    attributes |= {"padding": before, "groups": int(a["groups"])}
    if "output_padding" in a:
        low.add(node, "conv_transpose", [source], **attributes, output_padding=_axes(a["output_padding"], rank))
    else:
        low.add(node, "conv", [source], **attributes)


def _batch_norm(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    mean, variance = low.constant(a["running_mean"]), low.constant(a["running_var"])
    if mean is None or variance is None or a["training"]:
        low.refuse(node, "a BatchNorm without running statistics", "one in evaluation mode")
    weight, bias = low.constant(a["weight"]), low.constant(a["bias"])
    scale = (1.0 if weight is None else weight) / np.sqrt(variance + a["eps"])
    shift = (0.0 if bias is None else bias) - mean * scale
    name = low.module_name(a["running_mean"], node).removesuffix(".running_mean")
    tensors = {"scale": low.keep(f"{name}.scale", scale), "shift": low.keep(f"{name}.shift", shift)}
    low.add(node, "affine", [low.value(a["input"], node)], **tensors)


def _instance_norm(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a["use_input_stats"]:
        _group_norm(low, node, {**a, "num_groups": node.meta["val"].shape[1]})
    else:
        _batch_norm(low, node, {**a, "training": False})


def _group_norm(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    attributes: dict[str, Any] = {"groups": int(a["num_groups"]), "eps": float(a["eps"])}
    for key in ("weight", "bias"):
        constant = low.constant(a[key])
        if constant is not None:
            attributes[key] = low.keep(low.module_name(a[key], node), constant)
        elif a[key] is not None:
            low.refuse(node, f"a norm with a computed {key}", "a parameter")
    low.add(node, "group_norm", [low.value(a["input"], node)], **attributes)


def _pool(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    if a.get("divisor_override") is not None:
        low.refuse(node, "a pooling with divisor_override", "none")
    rank = _rank(node)
    kernel = _axes(a["kernel_size"], rank)
    stride = _axes(a["stride"], rank) if a["stride"] else kernel
    attributes: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": _axes(a["padding"], rank)}
    attributes["ceil_mode"] = bool(a["ceil_mode"])
    if "dilation" in a:
        op, attributes["dilation"] = "max_pool", _axes(a["dilation"], rank)
    else:
        op, attributes["count_include_pad"] = "avg_pool", bool(a["count_include_pad"])
    add = low.add_first if isinstance(node.meta["val"], tuple) else low.add
    add(node, op, [low.value(a.get("self", a.get("input")), node)], **attributes)


def _adaptive_pool(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    given = a["output_size"] if isinstance(a["output_size"], (list, tuple)) else [a["output_size"]]
    sizes = [whole_number(n) for n in given] * (_rank(node) if len(given) == 1 else 1)
    if None in sizes:
        low.refuse(node, f"an adaptive pooling to {a['output_size']}", f"numbers{_MULTIPLE}")
    is_tuple = isinstance(node.meta["val"], tuple)  # of maxima and their places
    add, op = (low.add_first, "adaptive_max_pool") if is_tuple else (low.add, "adaptive_avg_pool")
    add(node, op, [low.value(a["self"], node)], size=sizes)


def _mean(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    axes = len(a["self"].meta["val"].shape)
    if sorted(axis % axes for axis in a["dim"] or ()) != list(range(2, axes)) or not a["keepdim"]:
        low.refuse(node, f"a mean over axes {a['dim']}", "all spatial axes, with keepdim")
    low.add(node, "adaptive_avg_pool", [low.value(a["self"], node)], size=[1] * (axes - 2))


def _resize(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    source, name = low.value(a["input"], node), op_name(node)
    kind: dict[str, Any] = {"exact": "exact" in name} if "nearest" in name else {"align_corners": a["align_corners"]}
    op = "resize_nearest" if "nearest" in name else "resize"
    if a["scale_factors"] is not None:
        low.add(node, op, [source], **kind, factor=[float(f) for f in a["scale_factors"]])
        return
    like = low.like(node)
    if like is not None:
        low.add(node, op, [source, like], **kind)
        return
    sizes = zip(node.meta["val"].shape[2:], a["input"].meta["val"].shape[2:], strict=True)
    factor = [_ratio(out, size) for out, size in sizes]
    if any(f is None for f in factor):
        low.refuse(node, "a resize to a size of its own", "a factor, or the size of an earlier tensor")
    low.add(node, op, [source], **kind, factor=factor)


def _ratio(out: Any, size: Any) -> float | None:
    """out / size where that is one number whatever the symbols."""
    if isinstance(out, int) or isinstance(size, int):
        return None
    ratio = (out.node.expr / size.node.expr).simplify()
    return float(ratio) if ratio.is_number else None


def _pad(low: Lowering, node: Any, a: Mapping[str, Any]) -> None:
    rank, amounts = _rank(node), [whole_number(n) for n in a["pad"]]
    if a.get("mode", "constant") != "constant" or None in amounts or any(amounts[2 * rank :]):
        hint = _MULTIPLE if None in amounts else ""
        low.refuse(node, f"a padding {a.get('mode', 'constant')} by {a['pad']}", f"a constant one, by numbers{hint}")
    amounts = [*amounts, *[0] * (2 * rank - len(amounts))][: 2 * rank]
    _add_pad(low, node, a["self"], amounts[-2::-2], amounts[::-2], float(a["value"] or 0))


def crop(low: Lowering, node: Any, a: Mapping[str, Any], axis: int) -> None:
    """A slice along a spatial axis, as a padding by negative numbers; the distances to both borders are numbers."""
    taken = a["self"].meta["val"].shape[axis] - node.meta["val"].shape[axis]
    last = a.get("end", 0)  # narrow has a length in its place
    total, start, end = whole_number(taken), whole_number(a["start"] or 0), whole_number(last)
    if last is None:
        end = _TO_THE_END
    if total is not None and start is not None and start >= 0:
        front = start
    elif total is not None and end is not None and (end < 0 or end >= _TO_THE_END):
        front = total + min(0, end)
    else:
        low.refuse(node, "a slice of rows by what varies", f"distances from both borders that are numbers{_MULTIPLE}")
    before, after = [0] * _rank(node), [0] * _rank(node)
    before[axis - 2], after[axis - 2] = -front, front - total
    _add_pad(low, node, a["self"], before, after, 0.0)


def _add_pad(
    low: Lowering, node: Any, source: Any, before: Sequence[int | None], after: Sequence[int | None], value: float
) -> None:
    if any(before) or any(after):
        low.add(node, "pad", [low.value(source, node)], before=list(before), after=list(after), value=value)
    else:
        low.same(node, low.value(source, node))


OPS: dict[str, Lower] = {
    **dict.fromkeys(("conv2d", "conv3d", "conv_transpose2d", "conv_transpose3d"), _conv),
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    **dict.fromkeys(("avg_pool2d", "avg_pool3d", "max_pool2d", "max_pool3d"), _pool),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_avg_pool3d"), _adaptive_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d"), _adaptive_pool),
    "mean": _mean,
    **dict.fromkeys(("upsample_bilinear2d", "upsample_trilinear3d"), _resize),
    **dict.fromkeys(("upsample_nearest2d", "upsample_nearest3d"), _resize),
    **dict.fromkeys(("_upsample_nearest_exact2d", "_upsample_nearest_exact3d"), _resize),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
}
"""Lowering of each aten op, in evaluation mode."""
