"""Float64 reference of a recipe of windows: crop, normalise, resample, sliding window, resample back, labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def linear_axis(x: Doubles, axis: int, n_out: int, order: int) -> Doubles:
    """One axis resampled with half-sample centres and edges that continue: order 1 linear, order 0 nearest."""
    n_in = x.shape[axis]
    centre = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    if order == 0:
        return np.take(x, np.clip(np.floor(centre + 0.5).astype(int), 0, n_in - 1), axis)
    centre = np.clip(centre, 0, n_in - 1)
    first = np.minimum(centre.astype(int), max(n_in - 2, 0))
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    mix = (centre - first).reshape(shape)
    return np.take(x, first, axis) * (1 - mix) + np.take(x, np.minimum(first + 1, n_in - 1), axis) * mix


def resampled(x: Doubles, size: Sequence[int], order: Sequence[int]) -> Doubles:
    """The last three axes to `size`, each by its order (0 or 1)."""
    for axis, (n, o) in enumerate(zip(size, order, strict=True)):
        if x.shape[axis - 3] != n:
            x = linear_axis(x, x.ndim - 3 + axis, n, o)
    return x


def nonzero_box(channels: npt.NDArray[np.float64]) -> tuple[slice, slice, slice]:
    """The smallest box with every voxel that is not 0 in some channel."""
    any_channel = (channels != 0).any(axis=0)
    found = [np.flatnonzero(any_channel.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    d, h, w = (slice(int(at[0]), int(at[-1]) + 1) for at in found)
    return d, h, w
