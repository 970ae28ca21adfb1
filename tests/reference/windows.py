"""Windows of an (N, C, D, H, W) array, for the float64 references of convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def three(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def tap(x: npt.NDArray[Any], at: Sequence[int], out: Sequence[int], stride: Sequence[int]) -> npt.NDArray[Any]:
    """Every stride-th value from `at` on, `out` of them along each of the last three axes."""
    cut = tuple(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(at, out, stride, strict=True))
    return x[(..., *cut)]


def pad(
    x: npt.NDArray[Any], before: Sequence[int], after: Sequence[int], value: float = 0.0
) -> npt.NDArray[np.float64]:
    """`value` around the last three axes."""
    width = [(0, 0), (0, 0), *zip(before, after, strict=True)]
    return np.pad(np.asarray(x, dtype=np.float64), width, constant_values=value)
