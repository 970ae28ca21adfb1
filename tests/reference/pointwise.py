"""Float64 references of the ops that take one value, or one of each operand: binary, activation, softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


def per_channel(value: Values | float, ndim: int) -> npt.NDArray[np.float64]:
    flat = np.asarray(value, dtype=np.float64).reshape(-1)
    return flat.reshape(1, -1, *[1] * (ndim - 2))


def binary(a: Values, b: Values, kind: str) -> npt.NDArray[np.float64]:
    first, second = a.astype(np.float64), b.astype(np.float64)
    return {"add": np.add, "sub": np.subtract, "mul": np.multiply}[kind](first, second)


def activation(x: Values, kind: str, a: Values | float = 0.0, b: Values | float = 0.0) -> npt.NDArray[np.float64]:
    wide = x.astype(np.float64)
    if kind == "affine":
        return per_channel(a, x.ndim) * wide + per_channel(b, x.ndim)
    if kind == "leaky":
        return np.where(wide > 0, wide, per_channel(a, x.ndim) * wide)
    if kind == "relu":
        return np.maximum(wide, 0)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-wide))


def softmax(x: Values, log: bool = False) -> npt.NDArray[np.float64]:
    below = x.astype(np.float64) - x.max(axis=1, keepdims=True)
    total = np.exp(below).sum(axis=1, keepdims=True)
    return below - np.log(total) if log else np.exp(below) / total
