"""Float64 reference of spatial_pyramid without its epilogue, by whole convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from reference.conv3d import conv3d


def spatial_pyramid(
    x: npt.NDArray[Any],
    branch_weight: npt.NDArray[Any],
    gate_weight: npt.NDArray[Any],
    fuse_weight: npt.NDArray[Any],
    dilation: Sequence[int],
    gate_bias: npt.NDArray[Any] | None = None,
    stride: int = 1,
) -> npt.NDArray[np.float64]:
    """x: (1, m, H, W). Returns (1, branches * o, H', W')."""
    m = x.shape[1]
    mixes = np.split(fuse_weight.astype(np.float64), len(dilation))
    d: npt.NDArray[np.float64] | float = 0.0
    outputs = []
    for k, spread in enumerate(dilation):
        window: dict[str, Any] = {
            "stride": (1, stride, stride),
            "padding": (0, spread, spread),
            "dilation": (1, spread, spread),
        }
        d = d + conv3d(x[:, :, None], branch_weight[k][:, None, None], groups=m, **window)[0, :, 0]
        logit = np.tensordot(gate_weight[k].astype(np.float64), d, 1) + (0.0 if gate_bias is None else gate_bias[k])
        outputs.append(np.tensordot(mixes[k], d * (1 + 1 / (1 + np.exp(-logit))), 1))
    return np.concatenate(outputs)[None]
