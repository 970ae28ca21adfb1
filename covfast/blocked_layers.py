"""Pooling, resizing, element by element ops and the transposed convolution of the blocked layout: `covfast.blocked_ops`
says what that is. One image in and out, float32; what lies between is rounded to `element`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.blocked_ops import ELEMENTS, Floats, _epilogue, _floats, _image, _like, _number, _window
from covfast.errors import ShapeError, ValueRangeError, describe

RESIZES = ("linear", "linear with align_corners", "nearest", "nearest-exact")


def pool_blocked(
    x: npt.ArrayLike,
    kind: str,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    element: str = "f32",
    scale: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.pool3d` in the blocked layout: the "mean" or "max" of x over windows.

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32. A NaN gives NaN.
        kind, kernel, stride, padding, dilation, ceil_mode, count_include_pad: as for `covfast.ops.pool3d`.
        element: "f32", "bf16" or "u8" with `scale`, of x and the answer.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use.
    Returns: (1, C, ...) float32.
    Raises: ShapeError; ValueRangeError, also where the window of a maximum holds no value; DeviceError.
    """
    ndim, number = np.ndim(x), _number("element", element, ELEMENTS)
    step = kernel if stride is None else stride
    window = [_window(v, ndim, n) for v, n in ((kernel, 1), (step, 1), (padding, 0), (dilation, 1))]
    options = (ceil_mode, count_include_pad, number, scale, device, threads or 0)
    return _like(_core.pool_blocked(_image(x), _number("kind", kind, ("mean", "max")), window, *options), x)


def resize_blocked(
    x: npt.ArrayLike,
    size: Sequence[int],
    *,
    factor: float | None = None,
    mode: str = "linear",
    align_corners: bool = False,
    element: str = "f32",
    scale: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.resize3d` in the blocked layout: linear along each axis, or the nearest sample.

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32.
        size: one size per axis; those of D, H, W, or H, W.
        factor: what the size was made from, where it was: then positions are ``(o + 0.5) / factor - 0.5``.
        mode: "linear", "nearest" or "nearest-exact"; align_corners: of "linear" only.
        element, scale, device, threads: as for `pool_blocked`.
    Returns: (1, C, *size) float32.
    Raises: ShapeError, ValueRangeError, DeviceError.
    """
    rank, number = np.ndim(x) - 2, _number("element", element, ELEMENTS)
    if len(size) != rank:
        raise ShapeError(describe("size", tuple(size), f"{rank} numbers, one per axis"))
    kind = _number("mode", f"{mode} with align_corners" if align_corners else mode, RESIZES)
    factors = [0.0] * (3 - rank) + [factor or 0.0] * rank
    target = [1] * (3 - rank) + [int(n) for n in size]
    return _like(_core.resize_blocked(_image(x), target, kind, factors, number, scale, device, threads or 0), x)


def activation_blocked(
    x: npt.ArrayLike,
    kind: str,
    a: npt.ArrayLike = 0.0,
    b: npt.ArrayLike = 0.0,
    *,
    elements: tuple[str, str] = ("f32", "f32"),
    scales: tuple[float, float] = (1.0, 1.0),
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.activation` in the blocked layout: "affine" ``a x + b``, "leaky", "relu" or "sigmoid".

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32.
        kind: as for `covfast.ops.activation`; "affine" by 1 and 0 converts between elements.
        a, b: one number, or (C,) float32.
        elements, scales: of x and the answer: "f32", "bf16", or "u8" with a scale.
        device, threads: as for `pool_blocked`.
    Returns: float32, the shape of x.
    Raises: ShapeError, ValueRangeError, DeviceError.
    """
    number = _number("kind", kind, ("affine", "leaky", "relu", "sigmoid"))
    numbers = [_number("elements", name, ELEMENTS) for name in elements]
    slope, shift = (np.ascontiguousarray(v, dtype=np.float32).reshape(-1) for v in (a, b))
    return _like(_core.activation_blocked(_image(x), number, slope, shift, numbers, scales, device, threads or 0), x)


def binary_blocked(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    kind: str,
    *,
    element: str = "f32",
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.binary` in the blocked layout: "add", "sub" or "mul"; one channel is used for every channel.

    Args:
        a, b: (1, C or 1, D, H, W) or (1, C or 1, H, W) float32 of one size.
        element: "f32" or "bf16", of both and the answer.
        device, threads: as for `pool_blocked`.
    Returns: (1, C, ...) float32.
    Raises: ShapeError, ValueRangeError, DeviceError.
    """
    number = _number("kind", kind, ("add", "sub", "mul"))
    operands = (_image(a, "a"), _image(b, "b"))
    return _like(
        _core.binary_blocked(*operands, number, _number("element", element, ELEMENTS), device, threads or 0), a
    )


def conv_transpose_blocked(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    activation: str = "none",
    slope: npt.ArrayLike | None = None,
    before: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
    lanes: tuple[Sequence[int], Sequence[int]] = ((), ()),
    elements: tuple[str, str] = ("f32", "f32"),
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """`covfast.ops.conv_transpose3d` where the stride is the kernel: ``y[o, q s + t] = b[o] + sum w[c, o, t] x[c, q]``.

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32.
        weight: (C, O, kD, kH, kW) or (C, O, kH, kW) float32; its kernel is the stride.
        bias: (O) float32, or None.
        activation, slope, before, after: as for `covfast.blocked_ops.norm_blocked`.
        lanes: which channel each lane of x and of the answer holds, or -1; empty: one after the other.
        elements: of x and the weight, "f32", "bf16" or "u8" (x to 255 steps between -max and max of |x|, the weight to
            as many for each output channel); and of the answer and the operands, "f32" or "bf16".
        device, threads: as for `pool_blocked`.
    Returns: (1, O, ...) float32.
    Raises: ShapeError, ValueRangeError, DeviceError.
    """
    array, taps = _image(x), np.ascontiguousarray(weight, dtype=np.float32)
    if taps.ndim != np.ndim(x):
        raise ShapeError(describe("weight", f"shape {taps.shape}", f"{np.ndim(x)} axes, those of x"))
    taps = taps.reshape(*taps.shape[:2], -1, *taps.shape[-2:])
    numbers = [_number("elements", name, ELEMENTS) for name in elements]
    scale = float(np.abs(array).max(initial=0)) / 127 if elements[0] == "u8" else 1.0
    if not np.isfinite(scale):
        raise ValueRangeError(describe("x", "values that are not finite", "finite ones for u8"))
    epilogue = _epilogue(activation, slope, before, after)
    maps = [list(side) for side in lanes]
    options = (_floats(bias), epilogue, maps, numbers, scale or 1.0, device, threads or 0)
    return _like(_core.conv_transpose_blocked(array, taps, *options), x)
