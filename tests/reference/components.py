"""Connected components and hole filling by brute force: the smallest number spreads until nothing changes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt


def offsets(connectivity: int) -> list[tuple[int, int, int]]:
    """(D, H, W) steps to the voxels that touch one."""
    if connectivity in (4, 8):
        most = {4: 1, 8: 2}[connectivity]
        return [(0, h, w) for h, w in itertools.product((-1, 0, 1), repeat=2) if 0 < abs(h) + abs(w) <= most]
    most = {6: 1, 18: 2, 26: 3}[connectivity]
    return [o for o in itertools.product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, o)) <= most]


def components(labels: npt.NDArray[Any], connectivity: int) -> npt.NDArray[np.int64]:
    """(D, H, W) numbers from 1 in the order of first voxels, 0 where `labels` is 0."""
    padded = np.pad(labels.astype(np.int64), 1)
    numbers = np.where(padded != 0, np.arange(1, padded.size + 1).reshape(padded.shape), 0)
    while True:
        before = numbers.copy()
        for step in offsets(connectivity):
            shifted, values = (np.roll(a, step, (0, 1, 2)) for a in (numbers, padded))
            joined = (padded != 0) & (values == padded)
            numbers = np.where(joined, np.minimum(numbers, shifted), numbers)
        if np.array_equal(before, numbers):
            break
    inner = numbers[1:-1, 1:-1, 1:-1]
    found = np.unique(inner[inner != 0])  # the smallest number of a component is its first voxel's
    return np.where(inner != 0, np.searchsorted(found, inner) + 1, 0)


def fill_holes(labels: npt.NDArray[Any], connectivity: int, value: int) -> npt.NDArray[Any]:
    """`labels` with what `value` encloses set to it."""
    numbers = components((labels != value).astype(np.uint8), connectivity)
    axes = (1, 2) if connectivity in (4, 8) else (0, 1, 2)
    open_numbers = {int(n) for axis in axes for end in (0, -1) for n in np.unique(np.take(numbers, end, axis))}
    is_hole = (numbers != 0) & ~np.isin(numbers, sorted(open_numbers))
    return np.where(is_hole, value, labels).astype(labels.dtype)
