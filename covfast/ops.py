"""The Python face of each kernel, one function an op. Arrays cross without a copy where their layout allows it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covfast import _core


def null(x: npt.ArrayLike, *, device: str = "auto", threads: int | None = None) -> npt.NDArray[np.float32]:
    """A copy of `x`: ``y[i] = x[i]``, on the chosen backend.

    Args:
        x: float32, any shape.
        device: "auto", "cpu", "cuda" or "cuda:N"; `COVFAST_BACKEND` forces one backend.
        threads: CPU threads; None for all that the process may use.
    Returns: float32, the shape of `x`.
    Raises: DeviceError if the device is unknown or absent.
    """
    array = np.asarray(x, dtype=np.float32)
    return _core.null(np.ascontiguousarray(array).ravel(), device, threads or 0).reshape(array.shape)
