"""Float64 reference of the epilogue of a convolution: (y, y + other or None)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.planar_ops import Epilogue

Array = npt.NDArray[np.float64]


def apply(sums: Array, epilogue: Epilogue) -> tuple[Array, Array | None]:
    def wide(values: Any) -> Array:
        return np.asarray(values, dtype=np.float64)

    def per_channel(values: Any) -> Array:
        return wide(values).reshape(-1, *[1] * (sums.ndim - 2))

    v = sums.astype(np.float64)
    if epilogue.bias is not None:
        v = v + per_channel(epilogue.bias)
    if epilogue.before is not None:
        v = v + wide(epilogue.before)
    if epilogue.activation == "leaky":
        v = np.where(v > 0, v, per_channel(epilogue.slope) * v)
    elif epilogue.activation == "sigmoid":
        v = 1 / (1 + np.exp(-v))
    if epilogue.after is not None:
        v = v + wide(epilogue.after)
    return v, None if epilogue.other is None else v + wide(epilogue.other)
