"""What the sliding windows of `stitch.py` share: the volume, the settings, and networks that cost next to nothing."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
CHANNELS = 4
SIZES = {"full": ((300, 512, 512), (56, 192, 160)), "small": ((60, 128, 128), (16, 48, 48))}


class Case(NamedTuple):
    volume: torch.Tensor  # (1, D, H, W) float32
    window: tuple[int, int, int]
    step: float


class Repeated(torch.nn.Module):
    """The window as each of the channels, copied: the least that a network can do. Notes its own seconds."""

    seconds = 0.0
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        y = x.repeat(1, CHANNELS, 1, 1, 1)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return y

    def of_arrays(self, x: Floats) -> Floats:
        """The same with NumPy."""
        start = time.perf_counter()
        y = np.empty((len(x), CHANNELS, *x.shape[2:]), np.float32)
        y[:] = x
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return y


class Banded(torch.nn.Module):
    """Channels that win at different values, so that labels can be compared."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([level * (x - level / 2) for level in range(CHANNELS)], 1)

    def of_arrays(self, x: Floats) -> Floats:
        """The same with NumPy."""
        return np.concatenate([level * (x - level / 2) for level in range(CHANNELS)], 1)


def threads() -> int:
    """As `stitch.py` was told."""
    return int(os.environ["OMP_NUM_THREADS"])


def make(size: str) -> Case:
    """Smooth values from about -1 to 4, so that labels are areas and few voxels lie between two."""
    shape, window = SIZES[size]
    d, h, w = (
        np.sin(np.linspace(0, waves * np.pi, n, dtype=np.float32)) for n, waves in zip(shape, (5, 7, 9), strict=True)
    )
    values = 1.5 + d[:, None, None] + h[:, None] * w
    return Case(torch.from_numpy(np.ascontiguousarray(values[None])), window, 0.5)


Labels = npt.NDArray[np.uint8]
