"""MATLAB's imresize for one image: bicubic, antialiased where it shrinks. Inf-Net's evaluation resizes maps with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def imresize(image: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The image on a grid of another size, as `imresize(image, shape)` of MATLAB's Image Processing Toolbox.

    Output pixel i (1-based) lies at u = i / scale + 0.5 (1 - 1 / scale) of the input, scale = output / input size. Its
    weights are k(u - j), Keys' cubic with a = -0.5, divided by their sum; where scale < 1 the kernel is widened to
    scale k(scale (u - j)). Beyond the edge the image is mirrored, edge pixel repeated. The axis with the smaller scale
    goes first; an 8-bit image is rounded (half up) and cut to 0..255 after each axis, as MATLAB does.

    Args:
        image: (H, W) uint8, bool or float.
        shape: (height, width) of the result.
    Returns: (height, width) uint8 for uint8, else float64, which may overshoot the input's range.
    Source: Keys 1981, IEEE TASSP 29(6):1153; MATLAB documentation of imresize. Written from the description; MATLAB
        itself was not at hand, so its rounding is our reading.
    """
    result = image.astype(np.float64)
    for axis in np.argsort([new / old for new, old in zip(shape, image.shape, strict=True)], kind="stable"):
        weights = _weights(result.shape[axis], shape[axis])
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
        if image.dtype == np.uint8:
            result = np.clip(np.floor(result + 0.5), 0, 255)
    return result.astype(np.uint8) if image.dtype == np.uint8 else result


def _weights(size: int, new_size: int) -> npt.NDArray[np.float64]:
    """(new_size, size): the share of each input pixel in each output pixel."""
    scale = new_size / size
    stretch = min(scale, 1.0)
    u = np.arange(1, new_size + 1) / scale + 0.5 * (1 - 1 / scale)
    reach = 4 / stretch
    taps = np.floor(u - reach / 2)[:, None] + np.arange(int(np.ceil(reach)) + 2)
    shares = stretch * _cubic(stretch * (u[:, None] - taps))
    shares /= shares.sum(axis=1, keepdims=True)
    mirror = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    columns = mirror[np.mod(taps.astype(np.int64) - 1, 2 * size)]
    matrix = np.zeros((new_size, size))
    np.add.at(matrix, (np.arange(new_size)[:, None], columns), shares)
    return matrix


def _cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
