"""Lung fields of two methods: the native lungs, and the dense lung that a network finds beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.component_ops import components
from covfast.errors import NoLungsError
from covfast.ops import extend_lungs, lungs
from covfast.volume import LEFT_LUNG, RIGHT_LUNG

Labels = npt.NDArray[np.uint8]

DENSE_HU = -500
"""From here up a network may add lung. Less dense lung is the native method's, which draws its border exactly; what it
misses is lung as dense as the chest wall, with no air before it."""

THICK_MM = 5.0
"""Side of the square of dense lung that must fit into an axial slice of what is added: a network's border lies a few
millimetres beside the true one, and a rim of chest wall around the lungs is no lung."""

LEAST_PIECE_ML = 20.0
"""Smaller pieces that touch no lung are not lung."""

LEAST_SHARE = 0.1
"""Of the larger lung: a native lung that is smaller is not taken for one that others could join."""

_WORDS = ("lung", "lobe")


def lung_values(names: Mapping[int, str]) -> list[int]:
    """The labels of a model that are lungs or parts of them, by their names."""
    return [value for value, name in names.items() if any(word in name.lower() for word in _WORDS)]


def joined_lungs(
    hu: npt.NDArray[Any], spacing_mm: Sequence[float], found: npt.NDArray[np.bool_], *, threads: int | None = None
) -> Labels:
    """Left and right lung: the native lungs, and the dense lung that a network found beside them.

    Of what was found beside the native lungs, voxels of `DENSE_HU` and more that are `THICK_MM` thick in the axial
    slice join the lung they touch (`covfast.ops.extend_lungs`). Pieces that touch none are kept from `LEAST_PIECE_ML`
    on, and belong to the side of the body's middle on which they lie; so does all that was found where the native
    method misses a lung, or both.

    Args:
        hu: (D, H, W) int16 or float32 in HU, canonical orientation, any strides.
        spacing_mm: (3,) along D, H, W.
        found: (D, H, W) bool, where the network found lung.
        threads: CPU threads; None for all that the process may use.
    Returns: (D, H, W) uint8: 0 elsewhere, 1 left lung, 2 right lung.
    Raises: NoLungsError if neither finds lungs; ShapeError, DTypeError, ValueRangeError as `covfast.ops.lungs`.
    """
    piece_voxels = LEAST_PIECE_ML * 1000.0 / float(np.prod(spacing_mm))
    try:
        joined = lungs(hu, spacing_mm, device="cpu", threads=threads)
    except NoLungsError:
        if np.count_nonzero(found) < piece_voxels:
            raise
        joined = np.zeros(hu.shape, np.uint8)
    is_dense = hu >= DENSE_HU
    if joined.any():
        found = _thick(found & is_dense & (joined == 0), [max(1, round(THICK_MM / mm)) for mm in spacing_mm[1:]])
    left, right = (np.count_nonzero(joined == side) for side in (LEFT_LUNG, RIGHT_LUNG))
    if min(left, right) > LEAST_SHARE * max(left, right):
        joined = extend_lungs(joined, found, threads=threads)
    # What is left over, or all of it where a lung is missing that it could be, belongs to the side on which it lies.
    pieces = components(found & (joined == 0), 6, threads=threads)
    if not (pieces.voxels >= piece_voxels).any():
        return joined
    kept = np.concatenate([[False], pieces.voxels >= piece_voxels])[pieces.numbers]
    columns = np.arange(hu.shape[2])
    middle = np.average(columns, weights=np.count_nonzero(is_dense, axis=(0, 1)))  # of the body
    joined[kept & (columns > middle)] = LEFT_LUNG  # W grows to the patient's left
    joined[kept & (columns <= middle)] = RIGHT_LUNG
    return joined


def _thick(mask: npt.NDArray[np.bool_], sides: Sequence[int]) -> npt.NDArray[np.bool_]:
    """The part of (D, H, W) that rectangles of `sides` (h, w) voxels within it cover: its opening, slice by slice."""
    for axis, side in enumerate(sides, 1):
        mask = _run(mask, side, axis, np.logical_and)
    for axis, side in enumerate(sides, 1):
        mask = _run(mask[:, ::-1, ::-1], side, axis, np.logical_or)[:, ::-1, ::-1]
    return mask


def _run(mask: npt.NDArray[np.bool_], n: int, axis: int, join: np.ufunc) -> npt.NDArray[np.bool_]:
    """Each voxel joined with the n - 1 behind it along the axis; behind the end there is nothing."""
    out, have = mask.copy(), 1
    while have < n:
        step = min(have, n - have)
        here, behind = [slice(None)] * 3, [slice(None)] * 3
        here[axis], behind[axis] = slice(None, -step), slice(step, None)
        joined = join(out[tuple(here)], out[tuple(behind)])
        if join is np.logical_and:
            out = np.zeros_like(out)
        out[tuple(here)] = joined
        have += step
    return out
