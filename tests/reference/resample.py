"""Float64 reference of linear resampling, one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def matrix(n_in: int, n_out: int, antialias: bool) -> npt.NDArray[np.float64]:
    """(n_out, n_in) weights: triangle of half width max(1, scale) around (o + 0.5) * scale - 0.5, rows summing to 1."""
    scale = n_in / n_out
    support = max(1.0, scale) if antialias else 1.0
    centre = (np.arange(n_out) + 0.5) * scale - 0.5
    if not antialias:
        centre = np.clip(centre, 0, n_in - 1)
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(n_in) - centre[:, None]) / support)
    return weight / weight.sum(axis=1, keepdims=True)


def resample(x: npt.NDArray[Any], size: Sequence[int], antialias: bool) -> npt.NDArray[np.float64]:
    y = np.array(x, dtype=np.float64)
    for axis, n in enumerate(size):
        y = np.moveaxis(np.tensordot(matrix(y.shape[axis], n, antialias), y, axes=(1, axis)), 0, axis)
    return y
