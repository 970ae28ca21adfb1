"""The Python face of the kernels of the blocked layout, (channels / 16, D, H, W, 16), in which U-Nets run.

Each function takes and returns ordinary arrays of one image, (1, C, D, H, W) or (1, C, H, W) float32, and reorders them
inside, so that tests and measurements reach each kernel by itself; a network reorders once, at its input and output.
Elements are what a value holds between kernels: "f32"; "bf16", rounded to nearest even; and "u8", the number
``clip(round(v / scale) + 128, 0, 255)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.errors import ShapeError, ValueRangeError, describe

ELEMENTS = ("f32", "bf16", "u8")
ACTIVATIONS = ("none", "leaky", "sigmoid")
LANES = 16

Floats = npt.NDArray[np.float32]


def _number(name: str, value: str, names: Sequence[str]) -> int:
    """Number of `value` in the native list."""
    if value not in names:
        raise ValueRangeError(describe(name, repr(value), f"one of {tuple(names)}"))
    return names.index(value)


def _image(x: npt.ArrayLike, name: str = "x") -> Floats:
    """Contiguous float32 (1, C, D, H, W) of one image; (1, C, H, W) becomes D = 1."""
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim not in (4, 5) or array.shape[0] != 1:
        raise ShapeError(describe(name, f"shape {array.shape}", "(1, C, D, H, W) or (1, C, H, W)"))
    return array.reshape(1, array.shape[1], -1, *array.shape[-2:])


def _like(y: Floats, x: npt.ArrayLike) -> Floats:
    """(1, C, D, H, W) without the D = 1 of a 2-D op on `x`."""
    return y.reshape(*y.shape[:2], *y.shape[3:]) if np.ndim(x) == 4 else y


def _floats(values: npt.ArrayLike | None) -> Floats | None:
    return None if values is None else np.ascontiguousarray(values, dtype=np.float32)


def _epilogue(
    activation: str, slope: npt.ArrayLike | None, before: npt.ArrayLike | None, after: npt.ArrayLike | None
) -> tuple[int, Floats | None, Floats | None, Floats | None]:
    return _number("activation", activation, ACTIVATIONS), _floats(slope), _floats(before), _floats(after)


def _window(value: int | Sequence[int], ndim: int, neutral: int) -> list[int]:
    """One number per axis of D, H, W; `neutral` along D for a 2-D op."""
    numbers = [value] * (ndim - 2) if isinstance(value, int) else [int(v) for v in value]
    if len(numbers) != ndim - 2:
        raise ShapeError(describe("stride, padding, dilation", numbers, f"one number or {ndim - 2}, one per axis"))
    return numbers if ndim == 5 else [neutral, *numbers]


def to_blocked(
    x: npt.ArrayLike,
    lanes: Sequence[int],
    *,
    element: str = "f32",
    scale: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """A planar value in the blocked layout: ``y[l // 16, p, l % 16] = x[lanes[l], p]``, or 0 where lanes[l] is -1.

    Args:
        x: (C, plane) float32.
        lanes: which channel each lane holds, or -1; a multiple of 16 of them.
        element: "f32", "bf16" or "u8"; `scale` is that of "u8".
        device: "auto" or "cpu".
        threads: CPU threads; None for all that the process may use.
    Returns: (lanes / 16, plane, 16): float32, the bits of bf16 as uint16, or uint8.
    Raises: ShapeError if the lanes are no multiple of 16 or name a channel that is not there; ValueRangeError.
    """
    array, number = np.ascontiguousarray(x, dtype=np.float32), _number("element", element, ELEMENTS)
    return _core.to_blocked(array, list(lanes), number, scale, device, threads or 0)


def to_planar(
    x: npt.NDArray[Any],
    lanes: Sequence[int],
    channels: int,
    *,
    element: str = "f32",
    scale: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """The inverse of `to_blocked`: (channels, plane) float32; a channel that no lane holds is NaN."""
    number = _number("element", element, ELEMENTS)
    return _core.to_planar(np.ascontiguousarray(x), list(lanes), channels, number, scale, device, threads or 0)


def norm_blocked(
    x: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    bias: npt.ArrayLike | None = None,
    *,
    stats: npt.ArrayLike | None = None,
    eps: float = 1e-5,
    activation: str = "none",
    slope: npt.ArrayLike | None = None,
    before: npt.ArrayLike | None = None,
    after: npt.ArrayLike | None = None,
    elements: tuple[str, str, str] = ("f32", "f32", "f32"),
    y_scale: float = 1.0,
    in_place: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """Instance norm and what follows: ``activation((x - m) / sqrt(v + eps) * weight + bias + before) + after``.

    Args:
        x: (1, C, D, H, W) or (1, C, H, W) float32. A NaN makes its channel NaN.
        weight, bias: (C) float32, or None: 1 and 0.
        stats: (parts, lanes, 2) float32, sums and sums of squares of the lanes over parts of the voxels, whose total
            gives the mean m and the biased variance v; lanes is C rounded up to a multiple of 16. None: taken from x.
        activation: "none", "leaky" with a `slope` of (C) float32, or "sigmoid".
        before, after: like x, or None.
        elements: of x, the answer and before and after; "u8" for the answer alone, with `y_scale`.
        in_place: write over x's memory inside.
        device, threads: as for `to_blocked`.
    Returns: float32, the shape of x.
    Raises: ShapeError, ValueRangeError.
    """
    numbers = [_number("elements", name, ELEMENTS) for name in elements]
    epilogue = _epilogue(activation, slope, before, after)
    options = (_floats(stats), eps, epilogue, numbers, y_scale, in_place, device, threads or 0)
    return _like(_core.norm_blocked(_image(x), _floats(weight), _floats(bias), *options), x)
