"""The blocked layout in NumPy: lanes, and values as they are after rounding to an element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

BF16 = 2.0**-8  # half a unit in the last place of bf16, relative


def bf16_bits(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Bits of the nearest bf16, ties to even; no NaN."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def rounded(x: npt.NDArray[Any], element: str, scale: float = 1.0) -> npt.NDArray[np.float32]:
    """`x` as a value of `element` holds it."""
    if element == "bf16":
        bits = bf16_bits(np.ascontiguousarray(x, dtype=np.float32)).astype(np.uint32) << 16
        return bits.view(np.float32)
    if element == "u8":
        return (np.clip(np.rint(np.asarray(x, np.float64) / scale), -128, 127) * scale).astype(np.float32)
    return np.asarray(x, np.float32)


def to_blocked(x: npt.NDArray[Any], lanes: Sequence[int]) -> npt.NDArray[Any]:
    """(C, plane) to (lanes / 16, plane, 16)."""
    with_zeros = np.concatenate([x, np.zeros_like(x[:1])])
    return with_zeros[list(lanes)].reshape(-1, 16, x.shape[1]).transpose(0, 2, 1)


def planar_of(bits: npt.NDArray[np.uint16], lanes: Sequence[int], channels: int) -> npt.NDArray[np.float32]:
    """(lanes / 16, plane, 16) of bf16 to (channels, plane)."""
    values = (bits.astype(np.uint32) << 16).view(np.float32).transpose(0, 2, 1).reshape(len(lanes), -1)
    return np.stack([values[list(lanes).index(c)] for c in range(channels)])
