"""Float64 references of resampling by B-splines: the linear system itself, not a recursion; and labels of logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

EDGE = 40  # edge values beyond each end; the cubic's memory of them is 0.268^40


def coefficients(n: int) -> npt.NDArray[np.float64]:
    """(n + 2 EDGE, n): the cubic spline's coefficients of a line whose edge values continue outside."""
    system = np.eye(n + 2 * EDGE) * 4
    system += np.eye(n + 2 * EDGE, k=1) + np.eye(n + 2 * EDGE, k=-1)
    system[0, 0] = system[-1, -1] = 5  # beyond, the coefficients repeat
    continued = np.eye(n)[np.clip(np.arange(-EDGE, n + EDGE), 0, n - 1)]
    return np.linalg.solve(system, 6 * continued)


def matrix(n_in: int, n_out: int, order: int) -> npt.NDArray[np.float64]:
    """(n_out, n_in): what each output takes of each input."""
    t = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    if order < 3:
        source = np.arange(n_in)
        if order == 0:
            return (source == np.floor(t + 0.5)[:, None]).astype(float)
        return np.maximum(0, 1 - np.abs(source - np.clip(t, 0, n_in - 1)[:, None]))
    distance = np.abs(np.arange(-EDGE, n_in + EDGE) - t[:, None])
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.maximum(0, 2 - distance) ** 3 / 6
    return np.where(distance < 1, near, far) @ coefficients(n_in)


def resize(x: npt.NDArray[Any], size: Sequence[int], order: int, clip: bool = True) -> npt.NDArray[np.float64]:
    y = np.array(x, dtype=np.float64)
    for axis, n in enumerate(size):
        if n != y.shape[axis]:
            y = np.moveaxis(np.tensordot(matrix(y.shape[axis], n, order), y, axes=(1, axis)), 0, axis)
    return np.clip(y, np.min(x), np.max(x)) if clip and order == 3 else y


def resample_logits(logits: npt.NDArray[Any], size: Sequence[int], order: Sequence[int]) -> npt.NDArray[np.float64]:
    y = np.array(logits, dtype=np.float64)
    for axis, n in enumerate(size):
        table = matrix(y.shape[axis + 1], n, order[axis])
        y = np.moveaxis(np.tensordot(table, y, axes=(1, axis + 1)), 0, axis + 1)
    return y
