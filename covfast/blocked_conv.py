"""The direct convolution of the blocked layout: `covfast.blocked_ops` says what that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.blocked_ops import ACTIVATIONS, ELEMENTS, LANES, Floats, _image, _like, _number, _window
from covfast.errors import ShapeError, describe


class BlockedConvolution(NamedTuple):
    """What a convolution in the blocked layout leaves behind."""

    y: Floats  # (1, O, D, H, W) or (1, O, H, W)
    total: Floats | None  # y + other, where `other` was given
    stats: Floats  # (parts, lanes, 2): sums and sums of squares of sum + bias over parts of the output


@dataclass(frozen=True)
class ConvolutionOptions:
    """How a convolution runs, and what it does before it stores: ``y = activation(sum + bias + before) + after``."""

    stride: int | Sequence[int] = 1
    padding: int | Sequence[int] = 0
    dilation: int | Sequence[int] = 1
    element: str = "f32"  # what x and the weight are rounded to: "f32", "bf16" or "u8", as for `conv_blocked`
    y_element: str = "f32"  # what y, before, after, other and the total are rounded to: "f32" or "bf16"
    in_lanes: Sequence[int] | None = None  # which channel each lane of x holds, or -1; None for one after the other
    out_lanes: Sequence[int] | None = None
    planar: bool = False  # read x as (C, D, H, W), as a network's first convolution does
    activation: str = "none"  # "leaky" with a slope, or "sigmoid"
    slope: npt.ArrayLike | None = None  # (O) float32
    before: npt.ArrayLike | None = None  # like y
    after: npt.ArrayLike | None = None
    other: npt.ArrayLike | None = None
    device: str = "auto"
    threads: int | None = None


def conv_blocked(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    element: str = "f32",
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.conv3d` of one group in the blocked layout: ``y[o, p] = bias[o] + sum w[o, c, t] x[c, p s + t]``.

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32.
        weight: (O, C, kD, kH, kW) or (O, C, kH, kW) float32.
        bias: (O) float32, or None.
        stride, padding, dilation: one number, or one for each axis.
        element: what x and the weight are rounded to: "f32", "bf16", or "u8" (x to 255 steps between -max and max of
            its magnitude, the weight to as many for each output channel). Sums are f32, of "u8" exact.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use.
    Returns: (1, O, ...) float32.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    window = (stride, padding, dilation)
    return conv_blocked_fused(x, weight, bias, ConvolutionOptions(*window, element, device=device, threads=threads)).y


def conv_blocked_fused(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None, options: ConvolutionOptions
) -> BlockedConvolution:
    """`conv_blocked` with all that it can do.

    Args:
        x, weight, bias: as for `conv_blocked`.
        options: the rest.
    Returns: y, y + other, and the statistics of sum + bias.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    array, taps = _image(x), np.ascontiguousarray(weight, dtype=np.float32)
    if taps.ndim != np.ndim(x) or taps.shape[1] != array.shape[1]:
        raise ShapeError(describe("weight", f"shape {taps.shape}", f"(O, {array.shape[1]}, ...), as many axes as x"))
    taps = taps.reshape(*taps.shape[:2], -1, *taps.shape[-2:])
    where = (options.device, options.threads or 0)
    element = _number("element", options.element, ELEMENTS)
    to = _number("y_element", options.y_element, ELEMENTS)
    outs = _lanes(taps.shape[0]) if options.out_lanes is None else list(options.out_lanes)
    ins = _lanes(array.shape[1]) if options.in_lanes is None else list(options.in_lanes)
    ins = list(range(array.shape[1])) if options.planar else ins
    scale = float(np.abs(array).max(initial=0)) / 127 or 1.0
    raw = array[0] if options.planar else _blocked(array, ins, element, scale, where)
    operands = [
        None if v is None else _blocked(_image(v, "operand"), outs, to, 1.0, where)
        for v in (options.before, options.after, options.other)
    ]
    kind = _number("activation", options.activation, ACTIVATIONS)
    epilogue = (kind, _each_lane(bias, outs), _each_lane(options.slope, outs), operands)
    pairs = ((options.stride, 1), (options.padding, 0), (options.dilation, 1))
    window = [list(_window(v, np.ndim(x), neutral)) for v, neutral in pairs]
    in_scale = np.full(len(ins), scale, np.float32)
    call = (raw, taps, ins, outs, window, [element, to], in_scale, options.planar, epilogue, *where)
    y, total, stats = _core.conv_blocked(*call)
    planar = [None if v is None else _like(_planar(v, outs, taps.shape[0], to, where), x) for v in (y, total)]
    assert planar[0] is not None
    return BlockedConvolution(planar[0], planar[1], stats)


def _lanes(channels: int) -> list[int]:
    """Channels one after the other, the last block filled up with -1."""
    return [*range(channels), *[-1] * (-channels % LANES)]


def _each_lane(numbers: npt.ArrayLike | None, lanes: Sequence[int]) -> Floats | None:
    """One number a channel as one a lane, 0 where a lane holds none."""
    if numbers is None:
        return None
    array = np.append(np.asarray(numbers, dtype=np.float32), np.float32(0))
    if array.size - 2 != max(lanes):
        raise ShapeError(describe("bias, slope", f"{array.size - 1} numbers", f"{max(lanes) + 1}"))
    return np.ascontiguousarray(array[list(lanes)])


def _blocked(x: Floats, lanes: Sequence[int], element: int, scale: float, where: tuple[str, int]) -> npt.NDArray[Any]:
    """(1, C, D, H, W) as raw (blocks, D, H, W, 16)."""
    raw = _core.to_blocked(x.reshape(x.shape[1], -1), list(lanes), element, scale, *where)
    return raw.reshape(len(lanes) // LANES, *x.shape[2:], LANES)


def _planar(raw: npt.NDArray[Any], lanes: Sequence[int], channels: int, element: int, where: tuple[str, int]) -> Floats:
    """The inverse of `_blocked`."""
    flat = raw.reshape(raw.shape[0], -1, LANES)
    planar = _core.to_planar(flat, list(lanes), channels, element, 1.0, *where)
    return planar.reshape(1, channels, *raw.shape[1:4])
