"""Whatever a caller calls an image, as what the pipelines work on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covfast.adapters import image_grid
from covfast.errors import DTypeError, ShapeError, ValueRangeError, describe
from covfast.volume import Geometry, Volume

if TYPE_CHECKING:
    from covfast.io import Channels


def as_volume(image: Any, *, on_geometry: str = "error", input_window: tuple[float, float] | None = None) -> Volume:
    """A `Volume` of whatever `Segmenter` takes; see there."""
    if on_geometry not in ("error", "repair"):
        raise ValueRangeError(describe("on_geometry", repr(on_geometry), "'error' or 'repair'"))
    input_window = as_window("input_window", input_window)
    if isinstance(image, Volume):
        if input_window is not None:
            raise ValueRangeError(describe("input_window", input_window, "None for a Volume, which is in HU already"))
        return image
    from covfast import io

    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], np.ndarray):
        return io.from_array(image[0], Geometry.from_spacing(_grid(image[0]), image[1]), input_window=input_window)
    several = list(image) if isinstance(image, (list, tuple)) else [image]
    if isinstance(image, (str, os.PathLike, list, tuple)):
        if not several or not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in several):
            kinds = ", ".join(type(path).__name__ for path in several) or "an empty list"
            raise ValueRangeError(describe("image", kinds, "a path, a list of paths, or the tuple (array, spacing_mm)"))
        return io.read(image, on_geometry=on_geometry, input_window=input_window)
    if isinstance(image, np.ndarray):
        raise ShapeError(describe("image", "an array alone", "(array, spacing_mm)", "spacing along D, H, W in mm"))
    return io.from_image(image, input_window=input_window)


def as_window(name: str, window: Any) -> tuple[float, float] | None:
    if window is None:
        return None
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        raise ValueRangeError(describe(name, repr(window), "two numbers (low, high)")) from None
    return low, high


def as_channels(image: Any, *, on_geometry: str = "error") -> Channels:
    """`Channels` of whatever a `Segmenter` of a model with its own labels takes; see there.

    Raises: FormatError, GeometryError, ShapeError, DTypeError, ValueRangeError.
    """
    from covfast import io

    if isinstance(image, io.Channels):
        return image
    if isinstance(image, Volume):
        return io.Channels((image.hu,), image.geometry, notes=image.notes, scan=image.scan)
    if isinstance(image, tuple) and len(image) == 2 and isinstance(image[0], np.ndarray):
        array = image[0][np.newaxis] if image[0].ndim == 3 else image[0]
        if array.ndim != 4:
            raise ShapeError(describe("image", f"shape {image[0].shape}", "(D, H, W) or (C, D, H, W)"))
        return io.Channels(
            tuple(_as_raw(channel) for channel in array), Geometry.from_spacing(array.shape[1:], image[1])
        )
    if isinstance(image, (str, os.PathLike, list, tuple)):
        return io.read_channels(image, on_geometry=on_geometry)
    if isinstance(image, np.ndarray):
        raise ShapeError(describe("image", "an array alone", "(array, spacing_mm)", "spacing along D, H, W in mm"))
    found = image_grid("image", image)
    if found is None:
        expected = "a path, a list of paths, Channels, (array, spacing_mm), or a SimpleITK or nibabel image"
        raise DTypeError(describe("image", type(image).__name__, expected))
    return io.Channels((_as_raw(found[0]),), found[1])


def _as_raw(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """int16 or float32 with the values of an array of real numbers."""
    if array.dtype.kind not in "iuf":
        raise DTypeError(describe("image", array.dtype, "whole or real numbers"))
    return array if array.dtype in (np.int16, np.float32) else array.astype(np.float32)


def _grid(array: npt.NDArray[Any]) -> tuple[int, int, int]:
    if array.ndim != 3:
        raise ShapeError(
            describe("image", f"shape {array.shape}", "(D, H, W)", "covfast.segment_slice takes one slice")
        )
    return array.shape[0], array.shape[1], array.shape[2]
