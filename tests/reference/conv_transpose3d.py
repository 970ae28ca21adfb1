"""Float64 reference of conv_transpose3d: every tap of every input is added where it lands, then the borders are cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.windows import three


def conv_transpose3d(
    x: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    bias: npt.NDArray[Any] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> npt.NDArray[np.float64]:
    step, edge, extra, spread = three(stride), three(padding), three(output_padding), three(dilation)
    kernel, size = weight.shape[2:], x.shape[2:]
    axes = zip(size, kernel, step, spread, extra, strict=True)
    whole = [(n - 1) * s + d * (k - 1) + 1 + e for n, k, s, d, e in axes]
    y = np.zeros((x.shape[0], weight.shape[1] * groups, *whole))
    parts = zip(
        np.split(x.astype(np.float64), groups, 1),
        np.split(weight.astype(np.float64), groups),
        np.split(y, groups, 1),
        strict=True,
    )
    for channels, taps, answer in parts:
        for at in itertools.product(*map(range, kernel)):
            lands = zip(at, spread, step, size, strict=True)
            where = tuple(slice(a * d, a * d + (n - 1) * s + 1, s) for a, d, s, n in lands)
            answer[(..., *where)] += np.einsum("co,ncdhw->nodhw", taps[(..., *at)], channels)
    inside = tuple(slice(p, n - p) for p, n in zip(edge, whole, strict=True))
    y = y[(..., *inside)]
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)
