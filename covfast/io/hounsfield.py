"""Are these values Hounsfield units? Whole numbers, padding, and images that were windowed before they were stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import FormatError, MemoryLimitError, ValueRangeError, describe

AIR_HU = -1024
"""What padding becomes: the lowest value of a 12-bit CT, so that nothing downstream sees a second kind of air."""

PADDING_HU = -2000
"""At or below this no scanner measures anything; manufacturers fill the outside of the circular field of view with
-2000, -3024 or -32768. Values between this and air (noise, -1050 and the like) are kept as they are."""

_SCALES = ((1.0, 0.05), (255.0, 13.0), (4095.0, 0.0), (65535.0, 0.0))
"""Brightest value of a windowed image, and how far resampling may have made it ring beyond either end: 5 % of the
scales that images are resampled on; as much of the others would let a CT in HU pass."""
_WINDOW_HINT = "if the image was windowed, name the HU of its darkest and brightest value: --input-window LO HI"


@dataclass(frozen=True)
class Voxels:
    """A gathered (D, H, W) array and what was seen on the way.

    Attributes:
        values: int16 where every value is a whole number that fits, float32 otherwise.
        low, high: smallest and largest value.
        padding: number of voxels that were padding and became air.
    """

    values: npt.NDArray[Any]
    low: float
    high: float
    padding: int


def _is_int16(plane: npt.NDArray[Any], low: float, high: float) -> bool:
    if low < -32768 or high > 32767:
        return False
    return plane.dtype.kind in "iub" or bool((plane == np.rint(plane)).all())


def padding_to_air(plane: npt.NDArray[Any]) -> int:
    """Number of values <= PADDING_HU, each set to AIR_HU in place."""
    if plane.dtype.kind == "u" or plane.min() > PADDING_HU:
        return 0
    outside = plane <= PADDING_HU
    plane[outside] = AIR_HU
    return int(outside.sum())


def gather(planes: Iterable[npt.NDArray[Any]], shape: tuple[int, int, int], name: str) -> Voxels:
    """One (D, H, W) array from its D planes, in order; one plane is held at a time beside the result.

    Args:
        planes: D arrays (H, W) of any number type; written to where they hold padding.
        shape: (D, H, W).
        name: the file or series, for messages.
    Returns: int16 as long as every value is a whole number in int16, else float32.
    Raises: FormatError: NaN or infinite values; MemoryLimitError: no memory for the volume.
    """
    try:
        values: npt.NDArray[Any] = np.empty(shape, dtype=np.int16)
    except MemoryError:
        raise MemoryLimitError(describe(name, f"{shape} voxels", "a volume that fits into memory")) from None
    low, high, padding = np.inf, -np.inf, 0
    for index, plane in enumerate(planes):
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise FormatError(describe(name, f"NaN or infinite values in slice {index}", "finite HU"))
        padding += padding_to_air(plane)
        plane_low, plane_high = float(plane.min()), float(plane.max())
        low, high = min(low, plane_low), max(high, plane_high)
        if values.dtype == np.int16 and not _is_int16(plane, plane_low, plane_high):
            values = values.astype(np.float32)
        values[index] = plane
    return Voxels(values, low, high, padding)


def padding_notes(count: int) -> tuple[Mapping[str, Any], ...]:
    """The note that declares `count` padding voxels, or none."""
    if not count:
        return ()
    message = f"{count} voxels outside the field of view were padding and are air ({AIR_HU} HU) now"
    return ({"code": "PADDING_TO_AIR", "message": message, "value": count},)


def _lowest(voxels: Voxels) -> float:
    """Smallest value beside padding, which proves nothing about the scale; any below -100 will do."""
    if not voxels.padding or voxels.low < AIR_HU:
        return voxels.low
    low = voxels.high
    for plane in voxels.values:
        low = min(low, float(plane.min(where=plane != AIR_HU, initial=voxels.high)))
        if low < -100:
            break
    return low


def check_hounsfield(voxels: Voxels, name: str) -> None:
    """Refuses values that cannot be the HU of a chest CT.

    A chest holds air near -1000 HU beside tissue near 0: values without a negative one, or between about -100 and 355
    (an 8-bit range with the ringing of a resampling), or spread over less than 20 in fractions, are something else. A
    constant volume passes: nothing can be said about it, and no lungs will be found in it.

    Raises: FormatError, whose hint names --input-window.
    """
    low, high = _lowest(voxels), voxels.high
    got = f"values from {low:g} to {high:g}"
    if high > 32767 or low < -32768:
        raise FormatError(describe(name, got, "HU, at most 32767"))
    if low == high:
        return
    if voxels.values.dtype == np.float32 and high - low <= 20:
        raise FormatError(describe(name, f"{got}, normalised intensities", "a CT in HU", _WINDOW_HINT))
    if low >= -100 and 128 <= high <= 355:
        raise FormatError(describe(name, f"{got}, an 8-bit image", "a CT in HU", _WINDOW_HINT))
    if low >= 0:
        hint = _WINDOW_HINT
        if high > 355:
            hint = f"stored values without their rescale intercept? --input-window -1024 3071 if 0 is -1024 HU; {hint}"
        raise FormatError(describe(name, f"{got}, none negative", "a CT in HU, with air near -1000", hint))


def _scale(voxels: Voxels, name: str) -> float:
    for scale, margin in _SCALES:
        if voxels.low >= -margin and voxels.high <= scale + margin:
            return scale
    raise FormatError(
        describe(
            f"{name} with input_window",
            f"values from {voxels.low:g} to {voxels.high:g}",
            "an image of 0..1, 0..255, 0..4095 or 0..65535",
            "leave --input-window out for a CT in HU",
        )
    )


def check_window(window: tuple[float, float]) -> None:
    """Raises: ValueRangeError unless `window` is two finite numbers, the first smaller."""
    if len(window) != 2 or not np.isfinite(window).all() or window[0] >= window[1]:
        raise ValueRangeError(describe("input_window", window, "two finite HU, the lower first"))


def unwindow(voxels: Voxels, window: tuple[float, float], name: str) -> tuple[Voxels, Mapping[str, Any]]:
    """HU of an image that was windowed before it was stored: hu = lo + value / scale * (hi - lo).

    scale is the smallest of 1, 255, 4095 and 65535 that holds the values, it is a property of the number format, never
    of the values' own extremes. Values that the window cut off stay cut off.

    Returns: the voxels in HU and the note that declares it.
    Raises: ValueRangeError: no window; FormatError: values on none of these scales.
    """
    check_window(window)
    lo, hi = window
    scale = _scale(voxels, name)
    mapped = np.clip(voxels.values, 0, scale).astype(np.float32)
    mapped *= np.float32((hi - lo) / scale)
    mapped += np.float32(lo)
    note = {
        "code": "INPUT_WINDOW",
        "message": f"values on a scale of 0 to {scale:g} were taken as a window of {lo:g} to {hi:g} HU",
        "value": [float(lo), float(hi)],
    }
    whole = bool((mapped == np.rint(mapped)).all()) and lo >= -32768 and hi <= 32767
    values = mapped.astype(np.int16) if whole else mapped
    return Voxels(values, float(mapped.min()), float(mapped.max()), voxels.padding), note
