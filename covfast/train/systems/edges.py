"""Borders of masks, for the edge maps of pseudo-labelled slices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_TAN_22 = float(np.tan(np.pi / 8))
_TAN_67 = float(np.tan(3 * np.pi / 8))


def mask_edge(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Canny's edges of a (H, W) bool mask, 255 on the edge: Sobel gradients, maxima of |gx| + |gy| across the edge.

    The gradient of a mask of 0 and 255 is 0 or at least 255, so that thresholds between, such as Semi-Inf-Net's 10 and
    150, drop nothing, and no weak edge is left to follow.

    Source: J. Canny, IEEE PAMI 8(6):679-698, 1986.
    """
    grey = np.pad(mask.astype(np.int32) * 255, 1, mode="edge")
    down = grey[2:] - grey[:-2]
    across = grey[:, 2:] - grey[:, :-2]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    strength = np.pad(np.abs(gx) + np.abs(gy), 1)
    here = strength[1:-1, 1:-1]
    flat = np.abs(gy) < _TAN_22 * np.abs(gx)
    steep = np.abs(gy) > _TAN_67 * np.abs(gx)
    falling = (gx < 0) != (gy < 0)
    horizontal = (here > strength[1:-1, :-2]) & (here >= strength[1:-1, 2:])
    vertical = (here > strength[:-2, 1:-1]) & (here >= strength[2:, 1:-1])
    rising_maximum = (here > strength[:-2, :-2]) & (here > strength[2:, 2:])
    falling_maximum = (here > strength[:-2, 2:]) & (here > strength[2:, :-2])
    diagonal = np.where(falling, falling_maximum, rising_maximum)
    is_edge = (here > 0) & np.where(flat, horizontal, np.where(steep, vertical, diagonal))
    return np.where(is_edge, 255, 0).astype(np.uint8)
