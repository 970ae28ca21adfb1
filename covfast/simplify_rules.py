"""The rules of `simplify`: each looks for one pattern, replaces the first that it finds, and says whether it did.

They are exact in real arithmetic for every size of the input. A rule that gives less work only where sizes are so looks
at the size that the work is counted for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from covfast.simplify import RESIZES, Node, Rewriting, Tensor

Rule = Callable[[Rewriting], bool]

_MOST_TAPS = 1.5
"""Of a merged window, times those of its parts: two 3x3 of dilations 1 and 2 become 5x5, of 1 and 4 stay."""


# ---- what changes nothing ----


def drop_what_changes_nothing(work: Rewriting) -> bool:
    """A slice of all channels, a concatenation of one value, a pooling of windows of one: the input itself."""
    for node in work.nodes:
        source = node["inputs"][0]
        if node["output"] != work.output and (
            (node["op"] == "slice" and node["count"] == work.channels(source))
            or (node["op"] == "concat" and len(node["inputs"]) == 1)
            or (node["op"] in ("avg_pool", "max_pool") and _is_pointwise(node, node["kernel"]))
        ):
            work.rename(node["output"], source)
            return True
    return False


def slice_the_parts(work: Rewriting) -> bool:
    """slice(concat(a, b, c)) at the borders of parts = the part, or the concatenation of the parts."""
    for node in work.nodes:
        made = work.maker(node["inputs"][0])
        if node["op"] != "slice" or made is None or made["op"] != "concat":
            continue
        borders = _borders(work, made["inputs"])
        first, last = node["first"], node["first"] + node["count"]
        if first not in borders or last not in borders:
            continue
        parts = made["inputs"][borders.index(first) : borders.index(last)]
        if len(parts) > 1:
            work.replace([node], [{"op": "concat", "inputs": parts, "output": node["output"]}], node["output"])
            return True
        if node["output"] != work.output:
            work.rename(node["output"], parts[0])
            return True
    return False


def add_before_slicing(work: Rewriting) -> bool:
    """add(slice_i(y), part_i) for every part of z = concat(parts) = slice_i(add(y, z)): one sum and its slices."""
    for z in work.nodes:
        if z["op"] == "concat":
            for y in dict.fromkeys(value for part in z["inputs"] for value in _sliced_beside(work, part)):
                pairs = _sums_of_slices(work, y, z)
                if pairs:
                    _add_whole(work, y, z, pairs)
                    return True
    return False


def _sliced_beside(work: Rewriting, part: str) -> Iterator[str]:
    """The values that are sliced for a sum with this part."""
    for reader in work.readers(part):
        if reader["op"] == "add":
            makers = (work.maker(value) for value in reader["inputs"])
            yield from (made["inputs"][0] for made in makers if made is not None and made["op"] == "slice")


def _sums_of_slices(work: Rewriting, y: str, z: Node) -> list[tuple[Node, Node]]:
    """(slice of y, its sum with the part of z) for every part; nothing where a part has none."""
    if work.channels(y) != work.channels(z["output"]):
        return []
    borders, pairs = _borders(work, z["inputs"]), []
    for part, first in zip(z["inputs"], borders, strict=False):
        count = work.channels(part)
        found = [
            (node, reader)
            for node in work.readers(y)
            if node["op"] == "slice" and (node["first"], node["count"]) == (first, count)
            for reader in [work.only_reader(node["output"])]
            if reader is not None
            and reader["op"] == "add"
            and sorted(reader["inputs"]) == sorted([node["output"], part])
        ]
        if not found:
            return []
        pairs.append(found[0])
    firsts = [work.nodes.index(node) for node, _ in pairs]
    is_distinct = len({id(total) for _, total in pairs}) == len(pairs)
    return pairs if is_distinct and work.nodes.index(z) < min(firsts) else []


def _add_whole(work: Rewriting, y: str, z: Node, pairs: list[tuple[Node, Node]]) -> None:
    total = f"{pairs[0][1]['output']}.whole"
    new: list[Node] = [{"op": "add", "inputs": [y, z["output"]], "output": total}]
    new += [{**part, "inputs": [total], "output": added["output"]} for part, added in pairs]
    work.replace([node for pair in pairs for node in pair], new, total)


def _borders(work: Rewriting, parts: list[str]) -> list[int]:
    """First channel of each part, and the channel behind the last."""
    return [0, *np.cumsum([work.channels(part) for part in parts]).tolist()]


# ---- convolutions ----


def fold_affine_behind(work: Rewriting) -> bool:
    """affine(conv(x)) = conv'(x) with w' = w s, b' = b s + t: a BatchNorm behind a convolution."""
    for node in work.nodes:
        affine = work.only_reader(node["output"])
        if node["op"] in ("conv", "conv_transpose") and affine is not None and affine["op"] == "affine":
            weight, bias = _weights(work, node)
            scale, shift = work.tensor(affine, "scale"), work.tensor(affine, "shift")
            assert scale is not None and shift is not None  # noqa: PT018 - the op has both
            along = scale.reshape(-1, *[1] * (weight.ndim - 1))
            if node["op"] == "conv_transpose":  # (C, O / groups, kernel): C in the order of the groups
                along = np.repeat(scale.reshape(node["groups"], 1, -1), len(weight) // node["groups"], axis=1)
                along = along.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
            folded = _with(work, node, weight * along, bias * scale + shift, [node, affine])
            work.replace([node, affine], [{**folded, "output": affine["output"]}], affine["output"])
            return True
    return False


def fold_affine_before(work: Rewriting) -> bool:
    """conv(affine(x)) = conv'(x) with w' = w s, b' = b + sum of w t, where the convolution pads nothing."""
    for affine in work.nodes:
        node = work.only_reader(affine["output"])
        if affine["op"] == "affine" and node is not None and node["op"] == "conv" and not any(node["padding"]):
            weight, bias = _weights(work, node)
            scale, shift = work.tensor(affine, "scale"), work.tensor(affine, "shift")
            assert scale is not None and shift is not None  # noqa: PT018 - the op has both
            groups = node["groups"]
            grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
            added = np.einsum("gock,gc->go", grouped, shift.reshape(groups, -1)).reshape(-1)
            along = np.repeat(scale.reshape(groups, 1, -1), len(weight) // groups, axis=1)
            along = along.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
            folded = _with(work, node, weight * along, bias + added, [affine, node])
            source = affine["inputs"][0]
            work.replace([affine, node], [{**folded, "inputs": [source]}], source)
            return True
    return False


def merge_added_windows(work: Rewriting) -> bool:
    """conv_a(x) + conv_b(x) = conv(x) with the sum of both windows, and the same with an average pooling for one.

    Both have the same stride and groups (one channel each for a pooling, whose taps are 1 / taps), and the outputs are
    only added. Windows with the padding counted stand at the same places, so their taps add where they meet.
    """
    for total in work.nodes:
        if total["op"] != "add" or len(total["inputs"]) != 2:
            continue
        makers = [work.maker(value) for value in total["inputs"]]
        if any(made is None or work.only_reader(made["output"]) is not total for made in makers):
            continue
        a, b = (_as_conv(work, made) for made in makers if made is not None)
        if a is not None and b is not None and a[0]["inputs"] == b[0]["inputs"] and _add_windows(work, total, a, b):
            return True
    return False


def fold_residual(work: Rewriting) -> bool:
    """conv(x) + x = conv'(x) with 1 more at the tap in the middle that goes from each channel to itself."""
    for total in work.nodes:
        for value, x in (total["inputs"], total["inputs"][::-1]) if len(total["inputs"]) == 2 else ():
            conv = work.maker(value)
            if total["op"] != "add" or conv is None or conv["op"] != "conv" or conv["inputs"] != [x]:
                continue
            weight, bias = _weights(work, conv)
            axes = zip(conv["padding"], conv["dilation"], weight.shape[2:], strict=True)
            is_centred = set(conv["stride"]) == {1} and all(k % 2 and 2 * p == d * (k - 1) for p, d, k in axes)
            if work.only_reader(value) is total and is_centred and len(weight) == work.channels(x):
                changed, channels = weight.copy(), np.arange(len(weight))
                middle = tuple(k // 2 for k in weight.shape[2:])
                changed[(channels, channels % weight.shape[1], *middle)] += 1
                old = [conv, total]
                new = {**_with(work, conv, changed, bias, old), "output": total["output"]}
                work.replace(old, [new], total["output"])
                return True
    return False


Window = tuple[Node, Tensor, Tensor]
"""A node as a convolution: (node, weight, bias)."""


def _as_conv(work: Rewriting, node: Node) -> Window | None:
    """A convolution, or an average pooling of whole windows as the depthwise one that it is."""
    if node["op"] == "conv":
        return node, *_weights(work, node)
    if node["op"] != "avg_pool" or node["ceil_mode"] or not (node["count_include_pad"] or not any(node["padding"])):
        return None
    channels = work.channels(node["output"])
    weight = np.full((channels, 1, *node["kernel"]), 1 / math.prod(node["kernel"]))
    extra = {"op": "conv", "dilation": [1] * len(node["kernel"]), "groups": channels}
    return {**node, **extra}, weight, np.zeros(channels)


def _add_windows(work: Rewriting, total: Node, a: Window, b: Window) -> bool:
    """Replace both and their sum, if their places agree and the merged window is not much larger than both."""
    (first, wa, ba), (second, wb, bb) = a, b
    if (first["stride"], first["groups"], wa.shape[:2]) != (second["stride"], second["groups"], wb.shape[:2]):
        return False
    reach = [[d * (k - 1) for d, k in zip(node["dilation"], w.shape[2:], strict=True)] for node, w, _ in (a, b)]
    slack = [
        [2 * p - r for p, r in zip(node["padding"], at, strict=True)]
        for (node, *_), at in zip((a, b), reach, strict=True)
    ]
    padding = [max(pair) for pair in zip(first["padding"], second["padding"], strict=True)]
    kernel = [2 * p - s + 1 for p, s in zip(padding, slack[0], strict=True)]
    most = _MOST_TAPS * (math.prod(wa.shape[2:]) + math.prod(wb.shape[2:]))
    if slack[0] != slack[1] or math.prod(kernel) > most:
        return False
    weight = np.zeros((*wa.shape[:2], *kernel))
    for (node, part, _), far in zip((a, b), reach, strict=True):
        fronts = [p - own for p, own in zip(padding, node["padding"], strict=True)]
        taps = [slice(f, f + r + 1, d) for f, r, d in zip(fronts, far, node["dilation"], strict=True)]
        weight[(slice(None), slice(None), *taps)] += part
    named = [node for node, _, _ in (a, b) if "weight" in node]
    if not named:
        return False  # two poolings: there is no tensor to put them in
    merged = {**named[0], "weight": "+".join(node["weight"] for node in named), "padding": padding}
    merged |= {"dilation": [1] * len(kernel), "output": total["output"]}
    old = [node for node in work.nodes if node["output"] in (first["output"], second["output"], total["output"])]
    work.replace(old, [_with(work, merged, weight, ba + bb, old)], total["output"])
    return True


def convolve_before_resizing(work: Rewriting) -> bool:
    """conv_1x1(resize(x)) = resize(conv_1x1(x)), where that is less work. A resize's weights sum to 1: biases stay."""
    for resize in work.nodes:
        conv = work.only_reader(resize["output"])
        if resize["op"] not in RESIZES or conv is None or not _is_pointwise_conv(work, conv):
            continue
        source, taps = work.shapes[resize["inputs"][0]], 2 if resize["op"] == "resize" else 1
        many, few = math.prod(work.shapes[resize["output"]][1:]), math.prod(source[1:])
        products, per_value = math.prod(_weights(work, conv)[0].shape), taps ** (len(source) - 1)
        before = many * (products + source[0] * per_value)
        after = few * products + many * work.channels(conv["output"]) * per_value
        if after < before:
            small = f"{conv['output']}.small"
            new = [{**conv, "inputs": resize["inputs"][:1], "output": small}]
            new.append({**resize, "inputs": [small, *resize["inputs"][1:]], "output": conv["output"]})
            work.replace([resize, conv], new, conv["output"])
            return True
    return False


def merge_siblings(work: Rewriting) -> bool:
    """1x1 convolutions of one value = one convolution with the outputs of all, in their order, and slices of it."""
    for value in work.shapes:
        convs = [node for node in work.readers(value) if _is_pointwise_conv(work, node) and node["groups"] == 1]
        if len(convs) < 2:
            continue
        parts = [_weights(work, node) for node in convs]
        name = f"{convs[0]['output']}.siblings"
        merged = {**convs[0], "weight": "+".join(node["weight"] for node in convs), "output": name}
        weight, bias = (np.concatenate(tensors) for tensors in zip(*parts, strict=True))
        new, first = [_with(work, merged, weight, bias, convs)], 0
        for node, (own, _) in zip(convs, parts, strict=True):
            new.append({"op": "slice", "inputs": [name], "output": node["output"], "first": first, "count": len(own)})
            first += len(own)
        work.replace(convs, new, name)
        return True
    return False


def _is_pointwise(node: Node, kernel: Sequence[int]) -> bool:
    """Whether each output position reads the input's at the same place only."""
    return set(kernel) == {1} == set(node["stride"]) and not any(node["padding"])


def _is_pointwise_conv(work: Rewriting, node: Node) -> bool:
    return node["op"] == "conv" and _is_pointwise(node, _weights(work, node)[0].shape[2:])


def _weights(work: Rewriting, node: Node) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution, zeros where it has none."""
    weight, bias = work.tensor(node, "weight"), work.tensor(node, "bias")
    assert weight is not None
    return weight, np.zeros(work.channels(node["output"])) if bias is None else bias


def _with(work: Rewriting, node: Node, weight: Tensor, bias: Tensor, instead_of: Sequence[Node]) -> Node:
    """A convolution with other tensors; without a bias where there is none in `instead_of` and this one is 0."""
    changed = {**node, "weight": work.keep(node["weight"], weight, instead_of)}
    if any("bias" in old for old in instead_of) or bias.any():
        changed["bias"] = work.keep(f"{node['weight'].removesuffix('.weight')}.bias", bias, instead_of)
    return changed


RULES: tuple[Rule, ...] = (
    drop_what_changes_nothing,
    slice_the_parts,
    add_before_slicing,
    merge_added_windows,
    fold_affine_behind,
    fold_affine_before,
    fold_residual,
    convolve_before_resizing,
    merge_siblings,  # last: it puts slices behind convolutions, where other rules would look for what reads them
)
"""In the order in which they are tried."""
