"""Small U-Nets of two encoders or several heads in 2-D and 3-D, and their comparison with the native engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunet_folders import FEATURES, KERNELS, STRIDES, randomise

import covfast
from covfast.models import Topology

TOLERANCE = 1e-4  # of the output's range
SIZES = {2: ((1, 2, 16, 24), (2, 2, 24, 8)), 3: ((1, 2, 8, 16, 24), (2, 2, 6, 8, 16))}


def topology(rank: int, **changes: Any) -> Topology:
    """Three stages; in 3-D the first is flat."""
    kernels, strides = ([row[3 - rank :] for row in rows] for rows in (KERNELS, STRIDES))
    given: dict[str, Any] = {"features": FEATURES, "kernels": kernels, "strides": strides, **changes}
    return Topology(**given)


def images(rank: int, seed: int = 0, index: int = 0) -> Any:
    """(N, 2, [D,] H, W) float32."""
    return torch.randn(SIZES[rank][index], generator=torch.Generator().manual_seed(seed))


def assert_native_equals_torch(module: Any, rank: int, path: Path) -> None:
    """Export with random weights; the native engine equals torch at the exported size and another."""
    randomise(module, 0)
    net = covfast.load(covfast.export(module, path, SIZES[rank][0], multiple=module.multiple), device="cpu")
    for index in (0, 1):
        x = images(rank, index=index)
        with torch.no_grad():
            expected = module(x).numpy()
        assert float(np.ptp(expected)) > 0.1
        np.testing.assert_allclose(net(x.numpy()), expected, rtol=0, atol=TOLERANCE * float(np.ptp(expected)))
