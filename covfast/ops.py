"""The Python face of each kernel, one function an op. Arrays cross without a copy where their layout allows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, ValueRangeError, describe


class SupportsIsSet(Protocol):
    """What can cancel a long call: a `threading.Event`, for example."""

    def is_set(self) -> bool: ...


def lungs(
    hu: npt.NDArray[Any],
    spacing_mm: Sequence[float],
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: SupportsIsSet | None = None,
) -> npt.NDArray[np.uint8]:
    """Left and right lung of a chest CT, found without training.

    Vessels, lesions and consolidated lung count as lung; trachea, main bronchi, stomach and bowel do not. A single lung
    is named by the side of the spine it lies on. Infection may be missed where no aerated lung lies before it.

    Args:
        hu: (D, H, W) int16 or float32 in HU, any strides, in canonical orientation: inferior to superior, anterior to
            posterior, patient right to left.
        spacing_mm: (3,) from 0.001 to 1000, voxel size along D, H, W.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
        progress: called with the stage's name, how much of it is done, and its total.
        cancel: stops the work when its `is_set()` is true, such as a `threading.Event`.
    Returns: (D, H, W) uint8, contiguous: 0 elsewhere, 1 left lung, 2 right lung.
    Raises: NoLungsError if nothing can be lung; ShapeError, DTypeError; ValueRangeError if a spacing is not positive
        or a voxel not finite; DeviceError; Cancelled.
    """
    if len(spacing_mm) != 3:
        raise ShapeError(describe("spacing_mm", tuple(spacing_mm), "three numbers, one for each of D, H, W"))
    spacing = [float(step) for step in spacing_mm]
    return _core.lungs(hu, spacing, device, threads or 0, progress, cancel)


def null(x: npt.ArrayLike, *, device: str = "auto", threads: int | None = None) -> npt.NDArray[np.float32]:
    """A copy of `x`: ``y[i] = x[i]``, on the chosen backend.

    Args:
        x: float32, any shape.
        device: "auto", "cpu", "cuda" or "cuda:N"; `COVFAST_BACKEND` forces one backend.
        threads: CPU threads; None for all that the process may use.
    Returns: float32, the shape of `x`.
    Raises: DeviceError if the device is unknown or absent.
    """
    array = np.asarray(x, dtype=np.float32)
    return _core.null(np.ascontiguousarray(array).ravel(), device, threads or 0).reshape(array.shape)


def resample(
    x: npt.ArrayLike, size: Sequence[int], *, antialias: bool = True, device: str = "auto", threads: int | None = None
) -> npt.NDArray[np.float32]:
    """`x` resampled linearly to `size`, one axis after the other, with half-sample centres.

    Output o of an axis lies at ``(o + 0.5) * n_in / n_out - 0.5``; edges continue outside. With `antialias`, a
    reduction averages over the output's spacing (a triangle as wide as the scale), as Pillow's BILINEAR does.

    Args:
        x: float32, (D, H, W) or (H, W).
        size: one size per axis of `x`, each at least 1.
        antialias: widen the kernel where an axis shrinks.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
    Returns: float32 of shape `size`.
    Raises: ShapeError if `size` and `x` do not fit; DeviceError if the device is unknown or absent.
    """
    array = np.ascontiguousarray(x, dtype=np.float32)
    if len(size) != array.ndim:
        raise ShapeError(describe("size", tuple(size), f"{array.ndim} numbers, one per axis of x"))
    for axis, n in enumerate(size):
        if n != array.shape[axis]:
            outer, inner = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
            flat = array.reshape(outer, array.shape[axis], inner)
            shape = (*array.shape[:axis], n, *array.shape[axis + 1 :])
            array = _core.resample_axis(flat, n, antialias, device, threads or 0).reshape(shape)
    return array


def window_hu(
    hu: npt.NDArray[Any], low_hu: float, high_hu: float, *, device: str = "auto", threads: int | None = None
) -> npt.NDArray[np.float32]:
    """A HU window scaled to [0, 1]: ``(clip(hu, low, high) - low) / (high - low)``; NaN gives 0.

    Args:
        hu: (D, H, W) int16 or float32, any strides.
        low_hu, high_hu: HU that become 0 and 1, low < high.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use.
    Returns: (D, H, W) float32.
    Raises: ShapeError, DTypeError, ValueRangeError if low >= high, DeviceError.
    """
    return _core.window_hu(hu, low_hu, high_hu, device, threads or 0)


def _spatial(x: npt.ArrayLike, name: str = "x") -> npt.NDArray[np.float32]:
    """Contiguous float32 (N, C, D, H, W) of an (N, C, D, H, W) or (N, C, H, W) array, which becomes D = 1."""
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim not in (4, 5):
        raise ShapeError(describe(name, f"shape {array.shape}", "(N, C, D, H, W) or (N, C, H, W)"))
    return array.reshape(*array.shape[:2], 1, *array.shape[2:]) if array.ndim == 4 else array


def _axes(value: int | Sequence[int], ndim: int, neutral: int, name: str) -> tuple[int, int, int]:
    """One number per axis of D, H, W; `neutral` along D for a 2-D op."""
    numbers = (value,) * (ndim - 2) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(numbers) != ndim - 2:
        raise ShapeError(describe(name, numbers, f"one number or {ndim - 2}, one per axis"))
    d, h, w = (neutral, *numbers) if ndim == 4 else numbers
    return d, h, w


def _like(y: npt.NDArray[np.float32], ndim: int) -> npt.NDArray[np.float32]:
    """(N, C, D, H, W) without the D = 1 of a 2-D op."""
    return y.reshape(*y.shape[:2], *y.shape[3:]) if ndim == 4 else y


def _number(kind: str, kinds: Sequence[str]) -> int:
    """Number of a kind in the native list."""
    if kind not in kinds:
        raise ValueRangeError(describe("kind", repr(kind), f"one of {tuple(kinds)}"))
    return kinds.index(kind)


def conv3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Grouped convolution, as torch's.

    ``y[n, o, p] = bias[o] + sum_ct weight[o, c, t] * x[n, c, p * stride - padding + t * dilation]``

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32; zero outside.
        weight: (O, C / groups, kd, kh, kw) or (O, C / groups, kh, kw) float32.
        bias: (O,) float32, or None.
        stride, padding, dilation: one number, or one per axis.
        groups: a divisor of C and O.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: (N, O, D', H', W') or (N, O, H', W') float32.
    Raises: ShapeError, ValueRangeError, DeviceError; BackendUnavailable if the device has no such op.
    """
    array, ndim = _spatial(x), np.ndim(x)
    step, edge = _axes(stride, ndim, 1, "stride"), _axes(padding, ndim, 0, "padding")
    spread = _axes(dilation, ndim, 1, "dilation")
    offset = None if bias is None else np.ascontiguousarray(bias, dtype=np.float32)
    y = _core.conv3d(array, _spatial(weight, "weight"), offset, step, edge, spread, groups, device, threads or 0)
    return _like(y, ndim)


def conv_transpose3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Transposed convolution: ``y[n, o, q * stride - padding + t * dilation] += weight[c, o, t] * x[n, c, q]``.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        weight: (C, O / groups, kd, kh, kw) or (C, O / groups, kh, kw) float32.
        bias: (O,) float32, or None.
        stride, padding, dilation: one number, or one per axis.
        output_padding: added to the size of y; less than stride or dilation.
        groups: a divisor of C.
        device, threads: as for `conv3d`.
    Returns: (N, O, D', H', W') or (N, O, H', W') float32.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    array, ndim = _spatial(x), np.ndim(x)
    window = [_axes(stride, ndim, 1, "stride"), _axes(padding, ndim, 0, "padding")]
    window += [_axes(dilation, ndim, 1, "dilation"), _axes(output_padding, ndim, 0, "output_padding")]
    taps, offset = _spatial(weight, "weight"), None if bias is None else np.ascontiguousarray(bias, dtype=np.float32)
    return _like(_core.conv_transpose3d(array, taps, offset, window, groups, device, threads or 0), ndim)


def group_norm(
    x: npt.ArrayLike,
    groups: int,
    weight: npt.ArrayLike | None = None,
    bias: npt.ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """``(x - m) / sqrt(v + eps) * weight + bias``, m and v the mean and biased variance of each image's group.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        groups: a divisor of C; a group is C / groups channels and all positions. C groups are an instance norm.
        weight, bias: (C,) float32, or None.
        eps: 0 or more.
        device, threads: as for `conv3d`.
    Returns: float32 of the shape of `x`.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    a, b = (None if v is None else np.ascontiguousarray(v, dtype=np.float32) for v in (weight, bias))
    return _like(_core.group_norm(_spatial(x), groups, a, b, eps, device, threads or 0), np.ndim(x))


def pool3d(
    x: npt.ArrayLike,
    kind: str,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Mean or maximum of x over windows at ``p stride - padding``, as torch's AvgPool and MaxPool.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32. A NaN gives NaN.
        kind: "mean" or "max".
        kernel, stride, padding, dilation: one number, or one per axis; the stride is the kernel unless given.
        ceil_mode: also count a last window that hangs over the end.
        count_include_pad: whether padding counts as values of 0 in a mean.
        device, threads: as for `conv3d`.
    Returns: (N, C, D', H', W') or (N, C, H', W') float32.
    Raises: ShapeError, ValueRangeError if the padding exceeds half the window, DeviceError, BackendUnavailable.
    """
    array, ndim, number = _spatial(x), np.ndim(x), _number(kind, ("mean", "max"))
    size = _axes(kernel, ndim, 1, "kernel")
    step = size if stride is None else _axes(stride, ndim, 1, "stride")
    window = [size, step, _axes(padding, ndim, 0, "padding"), _axes(dilation, ndim, 1, "dilation")]
    return _like(_core.pool3d(array, number, window, ceil_mode, count_include_pad, device, threads or 0), ndim)


def pad3d(
    x: npt.ArrayLike,
    before: int | Sequence[int],
    after: int | Sequence[int],
    value: float = 0.0,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """`x` with `value` added before and after it along each axis; a negative number cuts.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        before, after: one number, or one per axis.
        device, threads: as for `conv3d`.
    Returns: (N, C, D', H', W') or (N, C, H', W') float32.
    Raises: ShapeError if nothing is left, DeviceError, BackendUnavailable.
    """
    front, back = (_axes(v, np.ndim(x), 0, name) for v, name in ((before, "before"), (after, "after")))
    return _like(_core.pad3d(_spatial(x), front, back, value, device, threads or 0), np.ndim(x))


def resize3d(
    x: npt.ArrayLike,
    size: Sequence[int] | None = None,
    *,
    factor: float | Sequence[float] | None = None,
    mode: str = "linear",
    align_corners: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """Resize to a size or by a factor, as torch's ``interpolate``: linear along each axis, or the nearest sample.

    Output o of an axis lies at ``(o + 0.5) * scale - 0.5`` (``scale`` = n_in / n_out, or 1 / factor), not below 0, or
    with `align_corners` at ``o * (n_in - 1) / (n_out - 1)``. "nearest" copies the sample ``floor(o * scale)``,
    "nearest-exact" ``floor((o + 0.5) * scale)``. No low-pass filter: see `resample` for one.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        size: one size per axis, or None where `factor` is given.
        factor: one number above 0, or one per axis; the size is ``floor(n_in * factor)``.
        mode: "linear", "nearest" or "nearest-exact".
        align_corners: whether the corner samples of input and output coincide; of "linear" only.
        device, threads: as for `conv3d`.
    Returns: float32 with the axes of `x`.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    array, ndim = _spatial(x), np.ndim(x)
    modes = ("linear", "linear with align_corners", "nearest", "nearest-exact")
    kind = _number(f"{mode} with align_corners" if align_corners else mode, modes)
    if (size is None) == (factor is None):
        raise ShapeError(describe("size, factor", (size, factor), "one of the two"))
    factors = [0.0, 0.0, 0.0]
    if size is None:
        rank = ndim - 2
        given = [float(factor)] * rank if isinstance(factor, (int, float)) else [float(f) for f in factor or ()]
        if len(given) != rank or min(given) <= 0:
            raise ValueRangeError(describe("factor", given, f"one number above 0, or {rank}"))
        factors[3 - rank :] = given
        size = [math.floor(n * f) for n, f in zip(np.shape(x)[2:], given, strict=True)]
    target = _axes(tuple(size), ndim, 1, "size")
    return _like(_core.resize3d(array, target, kind, factors, device, threads or 0), ndim)


def binary(
    a: npt.ArrayLike, b: npt.ArrayLike, kind: str, *, device: str = "auto", threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Element by element ``a + b``, ``a - b`` or ``a * b``; an operand of one channel is used for every channel.

    Args:
        a, b: (N, C or 1, D, H, W) or (N, C or 1, H, W) float32 of one size.
        kind: "add", "sub" or "mul".
        device, threads: as for `conv3d`.
    Returns: (N, C, D, H, W) or (N, C, H, W) float32.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    number = _number(kind, ("add", "sub", "mul"))
    return _like(_core.binary(_spatial(a, "a"), _spatial(b, "b"), number, device, threads or 0), np.ndim(a))


def activation(
    x: npt.ArrayLike,
    kind: str,
    a: npt.ArrayLike = 0.0,
    b: npt.ArrayLike = 0.0,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """One function of each value: "affine" ``a x + b``, "leaky" ``x if x > 0 else a x``, "relu", "sigmoid".

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        kind: "affine", "leaky" (PReLU where `a` has one number per channel), "relu" or "sigmoid".
        a, b: one number, or (C,) float32.
        device, threads: as for `conv3d`.
    Returns: float32 of the shape of `x`.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    """
    number = _number(kind, ("affine", "leaky", "relu", "sigmoid"))
    slope, shift = (np.ascontiguousarray(v, dtype=np.float32).reshape(-1) for v in (a, b))
    return _like(_core.activation(_spatial(x), number, slope, shift, device, threads or 0), np.ndim(x))


def softmax(
    x: npt.ArrayLike, *, log: bool = False, device: str = "auto", threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Softmax over the channels: ``exp(x_c - m) / sum_c exp(x_c - m)`` with m the greatest x_c, or its logarithm.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        log: whether to give the logarithm.
        device, threads: as for `conv3d`.
    Returns: float32 of the shape of `x`; sums to 1 over C unless a logarithm.
    Raises: ShapeError, DeviceError, BackendUnavailable.
    """
    return _like(_core.softmax(_spatial(x), log, device, threads or 0), np.ndim(x))


def slice_channels(
    x: npt.ArrayLike, first: int, count: int, *, device: str = "auto", threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Copy of the channels ``x[:, first : first + count]``.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32.
        first, count: 0 <= first and first + count <= C.
        device, threads: as for `conv3d`.
    Returns: (N, count, D, H, W) or (N, count, H, W) float32.
    Raises: ShapeError if `x` lacks a channel, DeviceError, BackendUnavailable.
    """
    return _like(_core.slice_channels(_spatial(x), first, count, device, threads or 0), np.ndim(x))
