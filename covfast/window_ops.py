"""The Python face of the kernels of a sliding window: cut windows out of a volume, add their outputs up, find labels.

`covfast.SlidingWindow` is what most callers want; these are its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import DTypeError, ShapeError, describe

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]

_NEVER = (False, False, False)


def _three(numbers: Sequence[int], name: str) -> tuple[int, int, int]:
    if len(numbers) != 3:
        raise ShapeError(describe(name, tuple(numbers), "three numbers, one for each of D, H, W"))
    d, h, w = (int(n) for n in numbers)
    return d, h, w


def _flips(flip: Sequence[bool]) -> tuple[bool, bool, bool]:
    d, h, w = (bool(f) for f in _three([int(f) for f in flip], "flip"))
    return d, h, w


def _changed(array: npt.NDArray[Any], dtype: type[np.generic], name: str) -> npt.NDArray[Any]:
    """The array itself, which an op changes. Raises: DTypeError unless it is contiguous, writable and of `dtype`."""
    is_ours = isinstance(array, np.ndarray) and array.dtype == dtype
    if not is_ours or not array.flags.c_contiguous or not array.flags.writeable:
        raise DTypeError(describe(name, "another array", f"a contiguous, writable array of {np.dtype(dtype)}"))
    return array


def gather(
    x: npt.ArrayLike,
    origin: Sequence[int],
    window: Sequence[int],
    *,
    flip: Sequence[bool] = _NEVER,
    fill: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """One window of a volume: ``y[c, p] = x[c, origin + p]``, `fill` outside; mirrored along flipped axes.

    Args:
        x: (C, D, H, W) float32, any strides.
        origin: of the window; it may lie outside.
        window: its size.
        flip: axes along which the window is mirrored.
        fill: the value outside x.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
    Returns: (C, *window) float32.
    Raises: ShapeError, DeviceError.
    """
    at, size = _three(origin, "origin"), _three(window, "window")
    return _core.gather(np.asarray(x, np.float32), at, size, _flips(flip), fill, device, threads or 0)


def stitch(
    sums: Floats,
    x: npt.ArrayLike,
    origin: Sequence[int],
    weights: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    *,
    floor: float = 0.0,
    depth: int | None = None,
    flip: Sequence[bool] = _NEVER,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Add one window: ``sums[origin + p] += max(weights[0][d] weights[1][h] weights[2][w], floor) * x[p]``, in place.

    Args:
        sums: (ring, C, H, W) float32, contiguous: plane d of the volume lies at ``d % ring``.
        x: (C, *window) float32, any strides.
        origin: of the window in the volume (depth, H, W); what lies outside is left out.
        weights: one array for each axis of the window, float32.
        floor: least product of weights.
        depth: planes of the volume; None for as many as the ring has.
        flip: axes along which x is mirrored, and is mirrored back.
        device, threads: as for `gather`. The result does not depend on the number of threads.
    Raises: ShapeError, also if the ring has fewer planes than the window; DTypeError, DeviceError.
    """
    total = _changed(sums, np.float32, "sums")
    place = (_three(origin, "origin"), len(total) if depth is None else depth, _flips(flip))
    d, h, w = (np.ascontiguousarray(axis, np.float32) for axis in weights)
    _core.stitch(np.asarray(x, np.float32), place, (d, h, w), floor, total, device, threads or 0)


def stitch_plane(
    sums: npt.ArrayLike,
    total_d: float,
    total_h: npt.ArrayLike,
    total_w: npt.ArrayLike,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """One plane's mean: ``sums / (total_d * total_h * total_w)``.

    Args:
        sums: (C, H, W) float32.
        total_d: sum of the weights along D of the windows in this plane.
        total_h, total_w: (H,) and (W,) float32, the same along H and W.
        device, threads: as for `gather`.
    Returns: (C, H, W) float32.
    Raises: ShapeError, DeviceError.
    """
    rows, columns = (np.ascontiguousarray(total, np.float32) for total in (total_h, total_w))
    return _core.stitch_plane(np.ascontiguousarray(sums, np.float32), total_d, rows, columns, device, threads or 0)


def stitch_half(
    sums: Halves,
    count: Halves | None,
    x: npt.ArrayLike,
    origin: Sequence[int],
    weight: npt.ArrayLike,
    *,
    scale: float = 1.0,
    depth: int | None = None,
    flip: Sequence[bool] = _NEVER,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Add one window as nnU-Net v2 does on a CPU: ``sums = half(sums + scale * x * weight)``; the weight to `count`.

    Args:
        sums: (ring, C, H, W) float16, contiguous, as for `stitch`.
        count: (ring, H, W) float16, contiguous, or None to leave it.
        x: (C, *window) float32, any strides.
        origin: of the window in the volume (depth, H, W); what lies outside is left out.
        weight: (*window) float16.
        scale: of x.
        depth, flip: as for `stitch`.
        device, threads: as for `gather`. The same bits on every backend.
    Raises: ShapeError, DTypeError, DeviceError.
    """
    total = _changed(sums, np.float16, "sums").view(np.uint16)
    seen = None if count is None else _changed(count, np.float16, "count").view(np.uint16)
    place = (_three(origin, "origin"), len(total) if depth is None else depth, _flips(flip))
    importance = np.ascontiguousarray(weight, np.float16).view(np.uint16)
    _core.stitch_half(np.asarray(x, np.float32), place, scale, importance, total, seen, device, threads or 0)


def stitch_half_plane(
    sums: npt.ArrayLike, count: npt.ArrayLike, *, device: str = "auto", threads: int | None = None
) -> Floats:
    """One plane's mean over the windows, and over networks ("folds"), each step rounded to half precision.

    Args:
        sums: (folds, C, H, W) float16.
        count: (H, W) float16, of one fold.
        device, threads: as for `gather`.
    Returns: (C, H, W) float32, which hold numbers of half precision.
    Raises: ShapeError, DeviceError.
    """
    half = np.ascontiguousarray(sums, np.float16).view(np.uint16)
    seen = np.ascontiguousarray(count, np.float16).view(np.uint16)
    return _core.stitch_half_plane(half, seen, device, threads or 0)


def argmax(
    x: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    *,
    regions: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Labels: `values` of the channel with the greatest x, the first of equals.

    With `regions`, channels are logits of regions that may overlap: `values` of the last channel above 0, else 0.

    Args:
        x: (C, H, W) float32, C at most 256.
        values: (C,) uint8, the label of each channel; None for its number.
        regions: see above.
        device, threads: as for `gather`.
    Returns: (H, W) uint8, and (H,) bool: rows in which a number that decides is NaN or infinite.
    Raises: ShapeError, DeviceError.
    """
    array = np.ascontiguousarray(x, np.float32)
    labels = np.arange(len(array)) if values is None else np.asarray(values)
    y, bad = _core.argmax(array, np.ascontiguousarray(labels, np.uint8), regions, device, threads or 0)
    return y, bad.astype(bool)
