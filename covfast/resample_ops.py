"""The Python face of the kernels that resample whole volumes: splines for images, labels out of resampled logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, ValueRangeError, describe


def resize_spline(
    x: npt.ArrayLike,
    size: Sequence[int],
    *,
    order: int = 3,
    clip: bool = True,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.float32]:
    """`x` resampled to `size` by B-splines with half-sample centres; edge values continue outside.

    Output o of an axis lies at ``(o + 0.5) * n_in / n_out - 0.5``. The numbers are those of
    ``skimage.transform.resize(x, size, order, mode="edge", anti_aliasing=False)``, which nnU-Net uses, and of
    ``scipy.ndimage.zoom(grid_mode=True, mode="nearest")``, within 1e-6 of the largest value.

    Args:
        x: float32, finite, any number of axes, each of 1 to 30,000.
        size: one size per axis of `x`, each at least 1.
        order: 0 nearest, 1 linear, 3 cubic.
        clip: order 3 overshoots at steps: limit the result to the lowest and highest value of `x`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
    Returns: float32 of shape `size`.
    Raises: ShapeError if `size` and `x` do not fit; ValueRangeError for another order; DeviceError.
    """
    array = np.ascontiguousarray(x, dtype=np.float32)
    if len(size) != array.ndim:
        raise ShapeError(describe("size", tuple(size), f"{array.ndim} numbers, one per axis of x"))
    changed = [axis for axis in range(array.ndim) if size[axis] != array.shape[axis]]
    limits = [float(array.min()), float(array.max())] if clip and order == 3 and array.size else [-math.inf, math.inf]
    for axis in changed:
        outer, inner = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
        flat = array.reshape(outer, array.shape[axis], inner)
        shape = (*array.shape[:axis], size[axis], *array.shape[axis + 1 :])
        window = limits if axis == changed[-1] else [-math.inf, math.inf]
        array = _core.spline_axis(flat, size[axis], order, window, device, threads or 0).reshape(shape)
    return array


def resample_labels(
    logits: npt.ArrayLike,
    size: Sequence[int],
    *,
    order: int | Sequence[int] = 1,
    values: Sequence[int] | None = None,
    regions: bool = False,
    round_to_half: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Labels on another grid, from logits that are resampled on the way: no float volume of that size is made.

    Args:
        logits: (C, D, H, W) float32, finite; C from 1 to 256.
        size: of the labels, (D, H, W).
        order: 1 linear or 0 nearest, with half-sample centres and edges that continue; one, or one per axis.
        values: the label of each channel, 0 to 255; None for 0 to C - 1, of regions 1 to C.
        regions: channels overlap: a voxel gets the value of the last channel above 0, else 0. If false it gets that of
            the greatest channel, the first one of equals.
        round_to_half: round resampled logits to half precision before they are compared, as nnU-Net stores them.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
    Returns: (D, H, W) uint8.
    Raises: ShapeError if sizes do not fit; ValueRangeError where a logit that decides is not finite, or for another
        order; DeviceError.
    """
    array = np.ascontiguousarray(logits, dtype=np.float32)
    if len(size) != 3:
        raise ShapeError(describe("size", tuple(size), "three numbers, one for each of D, H, W"))
    orders = [order] * 3 if isinstance(order, int) else list(order)
    first = 1 if regions else 0
    table = list(values) if values is not None else list(range(first, first + array.shape[0]))
    if any(not 0 <= value <= 255 for value in table):
        raise ValueRangeError(describe("values", table, "whole numbers from 0 to 255"))
    rule = [regions, round_to_half]
    labels, bad = _core.resample_labels(array, list(size), orders, table, rule, device, threads or 0)
    if bad.any():
        raise ValueRangeError(describe("logits", "NaN or an infinite number", "finite numbers"))
    return labels
