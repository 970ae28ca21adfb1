"""The Python face of the Winograd convolution of the blocked layout, for tests and measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, describe

LANES = 16

Floats = npt.NDArray[np.float32]


def _image(x: npt.ArrayLike, name: str = "x") -> Floats:
    """Contiguous float32 (1, C, D, H, W) of one image."""
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim != 5 or array.shape[0] != 1:
        raise ShapeError(describe(name, f"shape {array.shape}", "(1, C, D, H, W)"))
    return array


def _lanes_of(x: Floats, lanes: npt.NDArray[np.int32]) -> Floats:
    """(1, C, D, H, W) in the blocked layout (lanes / 16, D, H, W, 16); lanes of -1 hold 0."""
    padded = np.concatenate([x[0], np.zeros((1, *x.shape[2:]), np.float32)])[lanes]
    return np.ascontiguousarray(np.moveaxis(padded.reshape(-1, LANES, *x.shape[2:]), 1, -1))


def _channels_of(y: Floats, lanes: npt.NDArray[np.int32], channels: int) -> Floats:
    """The inverse of `_lanes_of`; a channel that no lane holds is NaN."""
    planar = np.full((1, channels, *y.shape[1:4]), np.nan, np.float32)
    planar[0, lanes[lanes >= 0]] = np.moveaxis(y, -1, 1).reshape(-1, *y.shape[1:4])[lanes >= 0]
    return planar


def _lane_map(lanes: Sequence[int] | None, channels: int) -> npt.NDArray[np.int32]:
    """`lanes`, or a lane a channel in order, filled up to whole blocks with -1."""
    if lanes is None:
        lanes = [*range(channels), *[-1] * (-channels % LANES)]
    if len(lanes) % LANES != 0:
        raise ShapeError(describe("in_lanes, out_lanes", f"{len(lanes)} lanes", "a multiple of 16"))
    return np.asarray(lanes, dtype=np.int32)


def _each_lane(name: str, values: npt.ArrayLike | None, lanes: npt.NDArray[np.int32], channels: int) -> Floats | None:
    """One number a channel as one a lane, 0 where a lane holds none."""
    if values is None:
        return None
    if np.shape(values) != (channels,):
        raise ShapeError(describe(name, f"shape {np.shape(values)}", f"({channels},)"))
    return np.append(np.asarray(values, np.float32), np.float32(0))[lanes]


def conv_winograd(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    padding: Sequence[int] = (1, 1, 1),
    slope: npt.ArrayLike | None = None,
    before: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
    other: npt.ArrayLike | None = None,
    in_lanes: Sequence[int] | None = None,
    out_lanes: Sequence[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Floats, Floats | None, Floats]:
    """Convolution of stride 1 and kernel 3x3(x3) by Winograd's minimal filtering, F(4, 3) along H and W.

    ``y = leaky(conv(x, weight) + bias + before, slope) + after``. Along D a kernel of 3 planes is F(4, 3) too, or
    F(2, 3) where its weights are many. Rounding is within 1e-5 of the output's range. A value that is not finite makes
    every voxel NaN whose tile of 4 x 4 (x 4) outputs sees it, and no others. Lavin and Gray, arXiv:1509.09308.

    Args:
        x: (1, C, D, H, W) float32.
        weight: (out, C, 3, 3, 3) or (out, C, 1, 3, 3) float32.
        bias, slope: (out) float32 or None; slope is that of the leaky ReLU, None for no activation.
        padding: zeros on both sides of D, H, W.
        before, after, other: like y, or None.
        in_lanes, out_lanes: which channel each lane of the blocked layout holds, or -1; None for channel c in lane c.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use.
    Returns: y (1, out, D', H', W'); y + other, or None without it; (parts, lanes, 2) float32, sums and sums of squares
        of conv + bias over parts of the voxels.
    Raises: ShapeError; ValueRangeError where the kernel has another size or a padding is negative.
    """
    image, taps = _image(x), np.ascontiguousarray(weight, dtype=np.float32)
    if taps.ndim != 5 or taps.shape[1] != image.shape[1]:
        raise ShapeError(describe("weight", f"shape {taps.shape}", f"(out, {image.shape[1]}, kD, kH, kW)"))
    channels = taps.shape[0]
    lanes_in, lanes_out = _lane_map(in_lanes, taps.shape[1]), _lane_map(out_lanes, channels)
    biases, slopes = (_each_lane(n, v, lanes_out, channels) for n, v in (("bias", bias), ("slope", slope)))
    operands = [None if v is None else _lanes_of(_image(v), lanes_out) for v in (before, after, other)]
    maps = (lanes_in, lanes_out)
    y, total, stats = _core.conv_winograd(
        _lanes_of(image, lanes_in), taps, *maps, biases, slopes, operands, list(padding), device, threads or 0
    )
    sums = None if total is None else _channels_of(total, lanes_out, channels)
    return _channels_of(y, lanes_out, channels), sums, stats
