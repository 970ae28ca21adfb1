"""Lung fields of two methods: the native lungs, and the dense lung that a network finds beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.cancellation import cancelled_by, check_cancelled
from covfast.component_ops import components
from covfast.errors import DTypeError, NoLungsError, ShapeError, describe
from covfast.ops import lungs
from covfast.volume import LEFT_LUNG, RIGHT_LUNG

Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

DENSE_HU = -500
"""From here up a network may add lung. Less dense lung is the native method's, which draws its border exactly; what it
misses is lung as dense as the chest wall, with no air before it."""

THICK_MM = 5.0
"""Side of the square of dense lung that must fit into an axial slice of what is added: a network's border lies a few
millimetres beside the true one, and a rim of chest wall around the lungs is no lung."""

LEAST_PIECE_ML = 20.0
"""Smaller pieces that touch no lung are not lung."""

EDGE_PERCENT = 1.0
"""Of a lung's voxels that may lie beyond its edge towards the other one: single ones say nothing."""

_LUNG = re.compile(r"(?<![a-z])(lungs?|lobes?)(?![a-z])")
_IN_LUNG = re.compile(r"nodule|tumou?r|cancer|lesion|infect|vessel|mass|effusion")


def lung_values(names: Mapping[int, str]) -> list[int]:
    """The labels of a model that are lungs or lobes, by their names; not what lies in them, such as a lung nodule."""
    lower = {value: name.lower() for value, name in names.items()}
    return [value for value, name in lower.items() if _LUNG.search(name) and not _IN_LUNG.search(name)]


def joined_lungs(
    hu: npt.NDArray[Any],
    spacing_mm: Sequence[float],
    found: Mask,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Any = None,
) -> Labels:
    """Left and right lung: the native lungs, and the dense lung that a network found beside them.

    Of what was found beside the native lungs, voxels of `DENSE_HU` and more that are `THICK_MM` thick in the axial
    slice are added in connected pieces: those that touch a lung, and others from `LEAST_PIECE_ML` on. Where the native
    method finds no lungs at all, all that was found is looked at. A piece that touches one lung of two belongs to it;
    any other is shared out between both at the middle between them, or, where there is one lung, at its inner edge.

    Args:
        hu: (D, H, W) int16 or float32 in HU, canonical orientation, any strides.
        spacing_mm: (3,) along D, H, W.
        found: (D, H, W) bool, where the network found lung.
        device, threads, progress, cancel: of the native lungs, as `covfast.ops.lungs` has them.
    Returns: (D, H, W) uint8: 0 elsewhere, 1 left lung, 2 right lung.
    Raises: NoLungsError if there are none of either; ShapeError, DTypeError; ValueRangeError, DeviceError and Cancelled
        as `covfast.ops.lungs`.
    """
    if found.shape != hu.shape:
        raise ShapeError(describe("found", f"shape {found.shape}", f"that of hu, {hu.shape}"))
    if found.dtype != np.bool_:
        raise DTypeError(describe("found", found.dtype, "bool"))
    with cancelled_by(cancel):
        try:
            joined = lungs(hu, spacing_mm, device=device, threads=threads, progress=progress, cancel=cancel)
        except NoLungsError:
            joined = np.zeros(hu.shape, np.uint8)
        if joined.any():
            found = found & (joined == 0)
            found &= hu >= DENSE_HU
            found = _thick(found, [max(1, round(THICK_MM / mm)) for mm in spacing_mm[1:]])
        _add(joined, found, LEAST_PIECE_ML * 1000.0 / float(np.prod(spacing_mm)), threads)
    if not joined.any():
        raise NoLungsError(describe("hu", "a volume without lungs", "a chest CT"))
    return joined


def _add(joined: Labels, found: Mask, least_voxels: float, threads: int | None) -> None:
    """Write the pieces of `found` that are lung into `joined`."""
    pieces = components(found, 6, threads=threads)
    check_cancelled()
    where = np.nonzero(found)
    numbers = pieces.numbers[where] - 1
    touches = np.zeros((len(pieces.voxels), 3), np.bool_)  # of each piece: nothing, the left lung, the right one
    for axis in range(3):
        for way in (-1, 1):
            beside = list(where)
            beside[axis] = np.clip(where[axis] + way, 0, joined.shape[axis] - 1)
            touches[numbers, joined[tuple(beside)]] = True
    check_cancelled()
    left, right = touches[:, LEFT_LUNG], touches[:, RIGHT_LUNG]
    middle, is_of_two = _middle(joined, where[2])
    by_column = np.where(where[2] > middle, LEFT_LUNG, RIGHT_LUNG)  # W grows to the patient's left
    by_touch = np.where(left, LEFT_LUNG, RIGHT_LUNG)
    side = np.where(is_of_two & (left ^ right)[numbers], by_touch[numbers], by_column)
    is_lung = (left | right | (pieces.voxels >= least_voxels))[numbers]
    joined[tuple(index[is_lung] for index in where)] = side[is_lung]


def _middle(joined: Labels, columns: npt.NDArray[np.intp]) -> tuple[float, bool]:
    """The column between left and right, and whether both lungs are there; of no lungs the mean of `columns`."""
    places = np.arange(joined.shape[2])
    counts = [np.count_nonzero(joined == side, axis=(0, 1)) for side in (LEFT_LUNG, RIGHT_LUNG)]
    left, right = (count.any() for count in counts)
    if left and right:
        return float(np.mean([np.average(places, weights=count) for count in counts])), True
    if not left and not right:
        return (float(columns.mean()) if columns.size else 0.0), False
    share = np.cumsum(counts[0] if left else counts[1]) / max(counts[0].sum(), counts[1].sum())
    edge = EDGE_PERCENT / 100.0
    return float(np.searchsorted(share, edge) - 1 if left else np.searchsorted(share, 1.0 - edge)), False


def _thick(mask: Mask, sides: Sequence[int]) -> Mask:
    """The part of (D, H, W) that rectangles of `sides` (h, w) voxels within it cover: its opening, slice by slice."""
    for axis, side in enumerate(sides, 1):
        mask = _run(mask, side, axis, np.logical_and)
    for axis, side in enumerate(sides, 1):
        mask = _run(mask[:, ::-1, ::-1], side, axis, np.logical_or)[:, ::-1, ::-1]
    return mask


def _run(mask: Mask, n: int, axis: int, join: np.ufunc) -> Mask:
    """Each voxel joined with the n - 1 behind it along the axis; behind the end there is nothing."""
    out, have = mask.copy(), 1
    while have < n:
        check_cancelled()
        step = min(have, n - have)
        here, behind = [slice(None)] * 3, [slice(None)] * 3
        here[axis], behind[axis] = slice(None, -step), slice(step, None)
        joined = join(out[tuple(here)], out[tuple(behind)])
        if join is np.logical_and:
            out = np.zeros_like(out)
        out[tuple(here)] = joined
        have += step
    return out
