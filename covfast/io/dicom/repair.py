"""Repairs that were asked for: every one exact in patient coordinates and declared in a note.

* Slices that do not belong (localizers, other orientations, sizes, pixel spacings) are left out.
* Of several slices at one place one is kept: any if their pixels are equal; otherwise that of the acquisition with the
  most slices, then of the lowest acquisition number, then of the lowest InstanceNumber.
* Gantry tilt and sideways shifts: each slice is moved within its own plane (bilinear) onto one upright grid that is
  large enough for all, air around them. The grid's axes are the slices' own, so it leans by the tilt but has right
  angles.
* Missing slices are interpolated linearly between their neighbours; the slices that exist keep their values.
* Irregular spacing: linear interpolation along the normal onto the grid whose ends are the first and the last slice.

Labels drawn on a repaired volume lie on its grid, not on the original slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.io.dicom.geometry import Fault, Stack
from covfast.io.dicom.headers import Slice
from covfast.io.dicom.pixels import slices_in_hu
from covfast.io.hounsfield import AIR_HU

Array = npt.NDArray[Any]
Note = Mapping[str, Any]


def note(code: str, message: str, value: float) -> Note:
    return {"code": code, "message": message, "value": value}


def fault_note(fault: Fault, done: str) -> Note:
    """The note that declares the repair of a fault."""
    return note(f"REPAIRED_{fault.code}", f"{fault.message}: {done}", len(fault.slices))


def keep_one_each(stack: Stack) -> tuple[list[Slice], int]:
    """One slice for each place, and the number of places whose slices differed in their pixels."""
    sizes = Counter(one.header.acquisition for one in stack.slices)
    kept, different = [], 0
    for group in stack.groups:
        best = min(
            group,
            key=lambda one: (-sizes[one.header.acquisition], one.header.acquisition, one.number, one.header.sop_uid),
        )
        kept.append(best)
        if len(group) > 1:
            planes = [plane for plane, _ in slices_in_hu(group)]
            different += any(not np.array_equal(planes[0], plane) for plane in planes[1:])
    return kept, different


@dataclass(frozen=True)
class Frame:
    """The upright in-plane grid that holds all slices.

    Attributes:
        shape: (H, W).
        start_px: (n, 2) where each slice's first pixel lies on it, in pixels along (W, H).
        origin_mm: (2,) (u, v) of the grid's first pixel less that of the stack.
    """

    shape: tuple[int, int]
    start_px: npt.NDArray[np.float64]
    origin_mm: npt.NDArray[np.float64]


def frame_of(stack: Stack, is_shifted: bool) -> Frame:
    """The frame of a stack; its slices' own one unless they are shifted against each other."""
    rows, columns = stack.slices[0].header.rows, stack.slices[0].header.columns
    if not is_shifted:
        return Frame((rows, columns), np.zeros((len(stack.along_mm), 2)), np.zeros(2))
    pixel = np.array(stack.slices[0].spacing, dtype=np.float64)[::-1]
    origin = stack.shift_mm.min(axis=0)
    start = (stack.shift_mm - origin) / pixel
    extra = np.ceil(np.round(start.max(axis=0), 6)).astype(int)
    return Frame((rows + int(extra[1]), columns + int(extra[0])), start, origin)


def _slide(plane: Array, axis: int, start_px: float, size: int) -> Array:
    """A (H, W) float plane moved by `start_px` >= 0 along an axis into `size` pixels, linearly, air around it."""
    whole = int(np.floor(start_px))
    part = start_px - whole
    moved = np.moveaxis(plane, axis, 0)
    result = np.full((size + 1, moved.shape[1]), float(AIR_HU))
    result[whole : whole + len(moved)] = moved
    if part:
        # Pixel i of the result lies at i - start_px of the plane: between whole pixels i - whole - 1 and i - whole.
        before = np.vstack([np.full((1, moved.shape[1]), float(AIR_HU)), result[:-1]])
        result = (1 - part) * result + part * before
    return np.moveaxis(result[:size], 0, axis)


def place(plane: Array, frame: Frame, index: int) -> Array:
    """A slice on the frame: bilinear, rounded back to whole HU where it had them."""
    if plane.shape == frame.shape and not frame.start_px[index].any():
        return plane
    moved = _slide(plane.astype(np.float64), 0, frame.start_px[index, 1], frame.shape[0])
    moved = _slide(moved, 1, frame.start_px[index, 0], frame.shape[1])
    return np.rint(moved).astype(plane.dtype) if plane.dtype.kind in "iu" else moved


def grid_places(stack: Stack) -> tuple[npt.NDArray[np.float64], float, float]:
    """Place of each plane of the even grid among the slices (2.25: a quarter past the third), its start and spacing."""
    along = stack.along_mm
    if stack.index is not None:
        spacing, start = np.polynomial.polynomial.polyfit(stack.index, along, 1)[::-1]
        target = np.arange(int(stack.index[-1]) + 1)
        # Between existing slices the index counts, not the jittered position: existing slices keep their values.
        return np.interp(target, stack.index, np.arange(len(along))), round(float(start), 9), round(float(spacing), 9)
    count = int(np.rint((along[-1] - along[0]) / stack.spacing_mm)) + 1
    target = np.linspace(along[0], along[-1], count)
    return np.interp(target, along, np.arange(len(along))), float(along[0]), float(target[1] - target[0])


def interpolate(planes: Iterator[Array], places: npt.NDArray[np.float64]) -> Iterator[Array]:
    """Planes at fractional `places` (ascending) among `planes`, linearly; whole places are passed on as they are."""
    held: dict[int, Array] = {}
    read = -1
    for at in places:
        low = int(np.floor(at + 1e-9))
        part = 0.0 if abs(at - round(at)) < 1e-9 else at - low
        while read < low + (part > 0):
            read += 1
            held[read] = next(planes)
        held = {key: plane for key, plane in held.items() if key >= low}
        if not part:
            yield held[low].copy()
            continue
        mixed = (1 - part) * held[low].astype(np.float64) + part * held[low + 1]
        yield np.rint(mixed) if held[low].dtype.kind in "iu" else mixed
