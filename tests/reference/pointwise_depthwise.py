"""Float64 reference of pointwise_depthwise without its epilogue, by whole convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from reference.conv3d import conv3d


def pointwise_depthwise(
    x: npt.NDArray[Any], mix_weight: npt.NDArray[Any], weight: npt.NDArray[Any], stride: int = 1, padding: int = 0
) -> npt.NDArray[np.float64]:
    """x: (1, C, H, W), mix_weight: (O, C), weight: (O, k, k). Returns (1, O, H', W')."""
    mixed = np.tensordot(mix_weight.astype(np.float64), x[0].astype(np.float64), 1)[None, :, None]
    window: dict[str, Any] = {"stride": (1, stride, stride), "padding": (0, padding, padding), "groups": len(weight)}
    return np.asarray(conv3d(mixed, weight[:, None, None], **window)[:, :, 0], dtype=np.float64)
