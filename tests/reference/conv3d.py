"""Float64 reference of conv3d: one shifted copy of the padded input per tap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.windows import pad, tap, three


def conv3d(
    x: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    bias: npt.NDArray[Any] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> npt.NDArray[np.float64]:
    step, edge, spread = three(stride), three(padding), three(dilation)
    padded = pad(x, edge, edge)
    kernel = weight.shape[2:]
    out = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, step, spread, strict=True)]
    y = np.zeros((x.shape[0], weight.shape[0], *out))
    parts = zip(
        np.split(padded, groups, 1), np.split(weight.astype(np.float64), groups), np.split(y, groups, 1), strict=True
    )
    for channels, taps, answer in parts:
        for at in itertools.product(*map(range, kernel)):
            shifted = tap(channels, [a * d for a, d in zip(at, spread, strict=True)], out, step)
            answer += np.einsum("oc,ncdhw->nodhw", taps[(..., *at)], shifted)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)
