"""Float64 reference of pool3d: sums of the values, divided by sums of ones; or the greatest value."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.windows import pad, tap, three


def out_size(n: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """`kernel`: from the window's first value to its last."""
    fitting = list(range(-padding, n + padding - kernel + 1, stride))
    following = fitting[-1] + stride
    hangs_over = fitting[-1] + kernel < n + padding and following < n
    return len(fitting) + (ceil_mode and hangs_over)


def pool3d(
    x: npt.NDArray[Any],
    kind: str,
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> npt.NDArray[np.float64]:
    size, edge, spread = three(kernel), three(padding), three(dilation)
    step = size if stride is None else three(stride)
    reach = [(k - 1) * d + 1 for k, d in zip(size, spread, strict=True)]
    axes = zip(x.shape[2:], reach, step, edge, strict=True)
    out = [out_size(n, k, s, p, ceil_mode) for n, k, s, p in axes]
    room = [r * s + r for r, s in zip(reach, step, strict=True)]  # enough for a window that hangs over
    after = [p + r for p, r in zip(edge, room, strict=True)]
    offsets = [tuple(a * d for a, d in zip(at, spread, strict=True)) for at in itertools.product(*map(range, size))]
    if kind == "max":
        lowest = pad(x, edge, after, -np.inf)
        return np.maximum.reduce([tap(lowest, at, out, step) for at in offsets])
    values = pad(x, edge, after)
    ones = np.ones_like(x, dtype=np.float64)
    counted = pad(ones, edge, edge) if not count_include_pad else np.ones(pad(ones, edge, edge).shape)
    counts = pad(counted, (0, 0, 0), room)
    return sum(tap(values, at, out, step) for at in offsets) / sum(tap(counts, at, out, step) for at in offsets)
