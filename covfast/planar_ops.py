"""The Python face of the planar kernels with an epilogue, in which a network fuses what follows a convolution.

The epilogue turns the sums of a convolution into what is stored, so that no further pass reads them:
``v = sum + bias; v = activation(v + before); y = v + after; total = y + other``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, ValueRangeError, describe

ACTIVATIONS = ("none", "leaky", "sigmoid")

Floats = npt.NDArray[np.float32]


class Epilogue(NamedTuple):
    """What follows the sums; None leaves a step out.

    Attributes:
        bias: (channels,) float32.
        activation: "none", "leaky" or "sigmoid".
        slope: (channels,) float32, of "leaky": ``v if v > 0 else slope * v``.
        before, after, other: float32, the shape of y; with `other`, the op also returns y + other.
    """

    bias: npt.ArrayLike | None = None
    activation: str = "none"
    slope: npt.ArrayLike | None = None
    before: npt.ArrayLike | None = None
    after: npt.ArrayLike | None = None
    other: npt.ArrayLike | None = None


def _deep(x: npt.ArrayLike, name: str) -> Floats:
    """Contiguous float32 (N, C, D, H, W); an array of four axes becomes D = 1."""
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim not in (4, 5):
        raise ShapeError(describe(name, f"shape {array.shape}", "(N, C, D, H, W) or (N, C, H, W)"))
    return array.reshape(*array.shape[:2], -1, *array.shape[-2:])


def _like(y: Floats, ndim: int) -> Floats:
    return y.reshape(*y.shape[:2], *y.shape[3:]) if ndim == 4 else y


_Native = tuple[int, Floats | None, Floats | None, Floats | None, Floats | None, Floats | None]


def _native(epilogue: Epilogue) -> _Native:
    if epilogue.activation not in ACTIVATIONS:
        raise ValueRangeError(describe("activation", repr(epilogue.activation), f"one of {ACTIVATIONS}"))
    kind = ACTIVATIONS.index(epilogue.activation)
    bias, slope = (
        None if v is None else np.ascontiguousarray(v, dtype=np.float32) for v in (epilogue.bias, epilogue.slope)
    )
    before, after, other = (
        None if v is None else _deep(v, name)
        for v, name in ((epilogue.before, "before"), (epilogue.after, "after"), (epilogue.other, "other"))
    )
    return kind, bias, slope, before, after, other


def conv3d_fused(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    epilogue: Epilogue,
    *,
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
    dilation: tuple[int, int, int] = (1, 1, 1),
    groups: int = 1,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Floats, Floats | None]:
    """Grouped convolution as `covfast.ops.conv3d`, and its epilogue.

    Args:
        x: (N, C, D, H, W) or (N, C, H, W) float32; zero outside.
        weight: (O, C / groups, kd, kh, kw) or (O, C / groups, kh, kw) float32.
        epilogue: what becomes of the sums.
        stride, padding, dilation: along (D, H, W); D is neutral in 2-D.
        groups: a divisor of C and O.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: y, (N, O, D', H', W') or (N, O, H', W') float32, and y + other or None.
    Raises: ShapeError; ValueRangeError, for "leaky" without a slope too; DeviceError, BackendUnavailable.
    """
    ndim, window = np.ndim(x), (stride, padding, dilation)
    arrays = _deep(x, "x"), _deep(weight, "weight")
    y, total = _core.conv3d_fused(*arrays, window, groups, _native(epilogue), device, threads or 0)
    return _like(y, ndim), None if total is None else _like(total, ndim)


def spatial_pyramid(
    x: npt.ArrayLike,
    branch_weight: npt.ArrayLike,
    gate_weight: npt.ArrayLike,
    fuse_weight: npt.ArrayLike,
    dilation: Sequence[int],
    epilogue: Epilogue,
    *,
    gate_bias: npt.ArrayLike | None = None,
    stride: int = 1,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Floats, Floats | None]:
    """Attentive hierarchical spatial pyramid: dilated depthwise branches, summed up, gated and mixed.

    With c_k the depthwise 3x3 convolution of ``dilation[k]``: ``d_0 = c_0, d_k = d_(k-1) + c_k``,
    ``e_k = d_k * (1 + sigmoid(gate_weight[k] . d_k + gate_bias[k]))``, and branch k gives the outputs
    ``fuse_weight[k o : (k + 1) o] . e_k``, to which the epilogue applies.

    Args:
        x: (1, m, H, W) float32; zero outside; m at most 128.
        branch_weight: (branches, m, 3, 3) float32, at most 4 branches.
        gate_weight: (branches, m) float32.
        fuse_weight: (branches * o, m) float32.
        dilation: of each branch; its padding too.
        epilogue: what becomes of the sums.
        gate_bias: (branches,) float32, or None.
        stride: of the convolutions.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: y, (1, branches * o, H', W') float32 with H' = (H - 1) // stride + 1, and y + other or None.
    Raises: ShapeError, ValueRangeError, DeviceError, BackendUnavailable.
    Source: Qiu et al., MiniSeg, AAAI 2021, arXiv 2004.09750v3.
    """
    branch, gate, fuse = (np.ascontiguousarray(w, dtype=np.float32) for w in (branch_weight, gate_weight, fuse_weight))
    bias = None if gate_bias is None else np.ascontiguousarray(gate_bias, dtype=np.float32)
    weights = (branch, gate, bias, fuse)
    spread = [int(d) for d in dilation]
    y, total = _core.spatial_pyramid(_deep(x, "x"), weights, spread, stride, _native(epilogue), device, threads or 0)
    return _like(y, 4), None if total is None else _like(total, 4)


def pointwise_depthwise(
    x: npt.ArrayLike,
    mix_weight: npt.ArrayLike,
    weight: npt.ArrayLike,
    epilogue: Epilogue,
    *,
    stride: int = 1,
    padding: int = 0,
    device: str = "auto",
    threads: int | None = None,
) -> tuple[Floats, Floats | None]:
    """1x1 convolution without bias, then a depthwise convolution of its result, which is never in memory as a whole.

    ``m[c, p] = sum_i mix_weight[c, i] x[i, p]``, zero outside, and
    ``y[c, q] = epilogue(sum_t weight[c, t] m[c, q stride - padding + t])``.

    Args:
        x: (1, C, H, W) float32, C at most 8.
        mix_weight: (O, C) float32, finite.
        weight: (O, k, k) float32, k at most 5.
        epilogue: what becomes of the sums.
        stride: 1 or 2.
        padding: 0 to k - 1.
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: y, (1, O, H', W') float32 with H' = (H + 2 padding - k) // stride + 1, and y + other or None.
    Raises: ShapeError; ValueRangeError, for "leaky" without a slope too; DeviceError, BackendUnavailable.
    Source: Qiu et al., MiniSeg, AAAI 2021, arXiv 2004.09750v3.
    """
    mix, taps = (np.ascontiguousarray(w, dtype=np.float32) for w in (mix_weight, weight))
    window = (int(stride), int(padding))
    y, total = _core.pointwise_depthwise(_deep(x, "x"), mix, taps, window, _native(epilogue), device, threads or 0)
    return _like(y, 4), None if total is None else _like(total, 4)
