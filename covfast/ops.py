"""The Python face of each kernel, one function an op. Arrays cross without a copy where their layout allows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, describe


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

    Output o of an axis lies at ``(o + 0.5) * n_in / n_out - 0.5``; edges continue outside. With `antialias`, a reduction
    averages over the output's spacing (a triangle as wide as the scale), as Pillow's BILINEAR does.

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
