"""Float64 reference of null: y = x."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def null(x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.array(x, dtype=np.float64)
