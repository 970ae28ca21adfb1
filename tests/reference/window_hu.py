"""Float64 reference of window_hu."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def window_hu(hu: npt.NDArray[Any], low_hu: float, high_hu: float) -> npt.NDArray[np.float64]:
    return (np.clip(np.array(hu, dtype=np.float64), low_hu, high_hu) - low_hu) / (high_hu - low_hu)
