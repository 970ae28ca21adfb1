"""Float64 reference of group_norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from reference.pointwise import per_channel


def group_norm(
    x: npt.NDArray[Any],
    groups: int,
    weight: npt.NDArray[Any] | None = None,
    bias: npt.NDArray[Any] | None = None,
    *,
    eps: float = 1e-5,
) -> npt.NDArray[np.float64]:
    flat = x.astype(np.float64).reshape(x.shape[0], groups, -1)
    mean, variance = flat.mean(axis=2, keepdims=True), flat.var(axis=2, keepdims=True)
    y = ((flat - mean) / np.sqrt(variance + eps)).reshape(x.shape)
    scale = per_channel(1.0 if weight is None else weight, x.ndim)
    return y * scale + per_channel(0.0 if bias is None else bias, x.ndim)
