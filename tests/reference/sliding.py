"""Float64 references of gather, stitch, argmax, and of a whole sliding window; stitch_half in NumPy's own half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def gather(
    x: npt.NDArray[Any], origin: Sequence[int], window: Sequence[int], flip: Sequence[bool], fill: float
) -> Doubles:
    y = np.full((len(x), *window), fill, np.float64)
    for at in np.ndindex(*window):
        source = tuple(o + p for o, p in zip(origin, at, strict=True))
        if all(0 <= s < n for s, n in zip(source, x.shape[1:], strict=True)):
            y[(slice(None), *at)] = x[(slice(None), *source)]
    return mirrored(y, flip)


def mirrored(x: npt.NDArray[Any], flip: Sequence[bool]) -> npt.NDArray[Any]:
    """(C, D, H, W) turned around along the axes that are flipped."""
    return x[(slice(None), *(slice(None, None, -1) if f else slice(None) for f in flip))]


def inside(origin: Sequence[int], window: Sequence[int], size: Sequence[int]) -> tuple[list[slice], list[slice]]:
    """The parts of a volume and of a window in it that meet."""
    low = [max(0, o) for o in origin]
    high = [min(n, o + w) for o, w, n in zip(origin, window, size, strict=True)]
    volume = [slice(a, max(a, b)) for a, b in zip(low, high, strict=True)]
    part = [slice(s.start - o, s.stop - o) for s, o in zip(volume, origin, strict=True)]
    return volume, part


def stitch(
    total: npt.NDArray[Any],
    x: npt.NDArray[Any],
    origin: Sequence[int],
    weights: Sequence[Any],
    flip: Sequence[bool],
    floor: float = 0.0,
) -> Doubles:
    """total: (C, D, H, W), the whole volume."""
    d, h, w = (np.asarray(axis, np.float64) for axis in weights)
    weighted = mirrored(x.astype(np.float64), flip) * np.maximum(d[:, None, None] * h[:, None] * w, floor)
    volume, part = inside(origin, x.shape[1:], total.shape[1:])
    y = total.astype(np.float64)
    y[(slice(None), *volume)] += weighted[(slice(None), *part)]
    return y


def stitch_half(
    total: npt.NDArray[np.float16],
    count: npt.NDArray[np.float16],
    x: npt.NDArray[np.float32],
    origin: Sequence[int],
    weight: npt.NDArray[np.float16],
    flip: Sequence[bool],
) -> None:
    """total: (C, D, H, W) and count: (D, H, W), the whole volume; changed in place."""
    volume, part = inside(origin, x.shape[1:], total.shape[1:])
    add = (mirrored(x, flip) * weight.astype(np.float32))[(slice(None), *part)]
    at = (slice(None), *volume)
    total[at] = (total[at].astype(np.float32) + add).astype(np.float16)
    count[tuple(volume)] += weight[tuple(part)]


def argmax(x: npt.NDArray[Any], values: npt.NDArray[Any], regions: bool) -> npt.NDArray[Any]:
    if not regions:
        return values[np.argmax(x, axis=0)]
    y = np.zeros(x.shape[1:], values.dtype)
    for channel, value in zip(x, values, strict=True):
        y[channel > 0] = value
    return y


def sliding_window(
    x: npt.NDArray[Any],
    network: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    starts: Sequence[Sequence[int]],
    weights: Sequence[npt.NDArray[Any]],
    flips: Sequence[Sequence[bool]] = ((False, False, False),),
    floor: float = 0.0,
) -> Doubles:
    """Weighted mean of the network's outputs (C', window) for x (C, D, H, W), which is no smaller than the window."""
    window = [len(axis) for axis in weights]
    weight = np.maximum(weights[0][:, None, None] * weights[1][:, None] * weights[2].astype(np.float64), floor)
    total: Any = 0
    count = np.zeros(x.shape[1:], np.float64)
    for origin in [(a, b, c) for a in starts[0] for b in starts[1] for c in starts[2]]:
        at = (slice(None), *(slice(o, o + n) for o, n in zip(origin, window, strict=True)))
        for flip in flips:
            y = mirrored(network(np.ascontiguousarray(mirrored(x[at], flip))).astype(np.float64), flip)
            if isinstance(total, int):
                total = np.zeros((len(y), *x.shape[1:]), np.float64)
            total[at] += y * weight
            count[at[1:]] += weight
    return np.asarray(total / count)
