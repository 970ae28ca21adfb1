"""Float64 reference of avg_pool3d: sums of the values, divided by sums of ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.windows import pad, tap, three


def out_size(n: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    fitting = list(range(-padding, n + padding - kernel + 1, stride))
    following = fitting[-1] + stride
    hangs_over = fitting[-1] + kernel < n + padding and following < n
    return len(fitting) + (ceil_mode and hangs_over)


def avg_pool3d(
    x: npt.NDArray[Any],
    kernel: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> npt.NDArray[np.float64]:
    size, edge = three(kernel), three(padding)
    step = size if stride is None else three(stride)
    axes = zip(x.shape[2:], size, step, edge, strict=True)
    out = [out_size(n, k, s, p, ceil_mode) for n, k, s, p in axes]
    room = [k * s + k for k, s in zip(out, step, strict=True)]  # enough for a window that hangs over
    values = pad(x, edge, [p + r for p, r in zip(edge, room, strict=True)])
    ones = np.ones_like(x, dtype=np.float64)
    counted = pad(ones, edge, edge) if not count_include_pad else np.ones(pad(ones, edge, edge).shape)
    counts = pad(counted, (0, 0, 0), room)
    offsets = list(itertools.product(*map(range, size)))
    return sum(tap(values, at, out, step) for at in offsets) / sum(tap(counts, at, out, step) for at in offsets)
