"""Float64 reference of resize3d: one (n_out, n_in) matrix of hat functions per axis, or one index per output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def matrix(n_in: int, n_out: int, align_corners: bool, scale: float | None = None) -> npt.NDArray[np.float64]:
    o = np.arange(n_out)
    if align_corners:
        position = o * ((n_in - 1) / (n_out - 1) if n_out > 1 else 0.0)
    else:
        position = (o + 0.5) * (n_in / n_out if scale is None else scale) - 0.5
    position = np.clip(position, 0, n_in - 1)
    return np.maximum(0.0, 1.0 - np.abs(np.arange(n_in) - position[:, None]))


def resize3d(
    x: npt.NDArray[Any], size: Sequence[int], align_corners: bool, factor: float | None = None
) -> npt.NDArray[np.float64]:
    y = np.asarray(x, dtype=np.float64)
    for axis, n in enumerate(size, start=2):
        weights = matrix(y.shape[axis], n, align_corners, None if factor is None else 1 / factor)
        y = np.moveaxis(np.tensordot(weights, y, axes=(1, axis)), 0, axis)
    return y


def nearest3d(
    x: npt.NDArray[Any], size: Sequence[int], is_exact: bool, factor: float | None = None
) -> npt.NDArray[np.float64]:
    """Exact where the positions are no whole numbers, or their scale is exact in float32 too."""
    y = np.asarray(x, dtype=np.float64)
    for axis, n in enumerate(size, start=2):
        scale = y.shape[axis] / n if factor is None else 1 / factor
        index = np.floor((np.arange(n) + (0.5 if is_exact else 0.0)) * scale).astype(np.int64)
        y = np.take(y, np.minimum(index, y.shape[axis] - 1), axis)
    return y
