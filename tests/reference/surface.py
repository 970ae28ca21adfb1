"""Float64 reference of surface_measure: surfels of DeepMind's surface distance, or border voxels, by SciPy's transform.

A surfel is a voxel corner whose 2x2x2 (2-D: 2x2) neighbours are neither all inside nor all outside the mask; its area
follows from their code alone. Source: Nikolov et al. 2018, arXiv:1809.04430; Lorensen and Cline 1987, marching cubes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Normal = tuple[float, float, float]

PROBE = np.array([1.0, 1.1, 1.7])
# DeepMind's areas are norms that NumPy's BLAS takes, and their last bits are the machine's: whether products are added
# unrounded, as AVX-512 kernels do and covfast does everywhere.
IS_FUSED = bool(PROBE.dot(PROBE) == 5.1000000000000005)

_1, _2, _FACE = (0.125, 0.125, 0.125), (0.25, 0.25, 0.25), (0.5, 0.0, 0.0)
_YZ, _XZ, _XY = (0.0, 0.25, 0.25), (0.25, 0.0, 0.25), (0.25, 0.25, 0.0)
# One code of each of the cube's 14 classes of corners under its 48 symmetries and the exchange of inside and outside:
# absolute normals of its triangles, each as long as its triangle is large. Bit 128 >> (4 a + 2 b + c) of a code is
# neighbour (a, b, c).
NORMALS: dict[int, list[Normal]] = {
    0: [],
    1: [_1],
    3: [_XY] * 2,
    6: [_1] * 2,
    7: [_2, _FACE, _1],
    15: [_FACE] * 2,
    22: [_1] * 3,
    23: [_1, _2, _2, _1],
    24: [_1] * 2,
    25: [_YZ, _1, _YZ],
    27: [_XZ, (0.375, 0.375, 0.375), _1, _YZ],
    30: [_2, _FACE, _1, _1],
    60: [_XY] * 4,
    105: [_1] * 4,
}
# DeepMind's table adds the triangles of these codes, and of their complements, in another order than of the others of
# their class: it decides the last bit of an area, and that decides exact ties of a percentile. Measured, code by code.
ORDERS: dict[tuple[int, ...], list[int]] = {
    (25, 26, 38, 52, 61, 70, 87, 88, 100, 103, 110, 117, 122, 124): [0, 2, 1],
    (31, 35, 50): [1, 2, 0],
    (27, 30, 43, 54, 77, 99): [1, 2, 0, 3],
    (58,): [1, 3, 2, 0],
    (78, 116): [1, 3, 0, 2],
    (83, 92): [0, 1, 3, 2],
    (86,): [0, 2, 3, 1],
}


class Direction(NamedTuple):
    """Groups of surface elements of equal distance and size, sorted by both."""

    distance_mm: Floats
    element: Floats
    count: npt.NDArray[np.int64]


class LabelMeasure(NamedTuple):
    tp: int
    fp: int
    fn: int
    tn: int
    truth_to_prediction: Direction
    prediction_to_truth: Direction


def turned(code: int, axes: tuple[int, ...], flips: tuple[int, ...]) -> int:
    """The code of the corners seen after the axes are permuted and some are reversed."""
    moved = 0
    for corner in product((0, 1), repeat=3):
        if code & (128 >> (4 * corner[0] + 2 * corner[1] + corner[2])):
            a, b, c = (corner[axis] ^ flip for axis, flip in zip(axes, flips, strict=True))
            moved |= 128 >> (4 * a + 2 * b + c)
    return moved


def normals_by_code() -> list[list[Normal]]:
    """Absolute normals of every code's triangles, in the order in which their areas are added."""
    table: list[list[Normal]] = [[] for _ in range(256)]
    for code, normals in NORMALS.items():
        for axes, flips in product(permutations(range(3)), product((0, 1), repeat=3)):
            own = [(n[axes[0]], n[axes[1]], n[axes[2]]) for n in normals]
            twin = turned(code, axes, flips)
            table[twin] = table[255 - twin] = own
    for codes, order in ORDERS.items():
        for code in codes:
            table[code] = table[255 - code] = [table[code][i] for i in order]
    return table


def area_table(spacing_mm: Sequence[float]) -> Floats:
    """(256,) area of a code's triangles in mm^2: sum of |(n0 s1 s2, n1 s0 s2, n2 s0 s1)| over its normals."""
    s0, s1, s2 = spacing_mm
    table = np.zeros(256)
    for code, normals in enumerate(normals_by_code()):
        for n0, n1, n2 in normals:
            table[code] += np.linalg.norm([n0 * s1 * s2, n1 * s0 * s2, n2 * s0 * s1])
    return table


def length_table(spacing_mm: Sequence[float]) -> Floats:
    """(16,) contour length of a 2x2 code in mm; bits as in the last four of a 3-D code."""
    s0, s1 = spacing_mm
    table = np.zeros(16)
    for code in range(1, 15):
        inside = [bool(code & bit) for bit in (8, 4, 2, 1)]
        if inside in ([1, 1, 0, 0], [0, 0, 1, 1]):
            table[code] = s1
        elif inside in ([1, 0, 1, 0], [0, 1, 0, 1]):
            table[code] = s0
        else:
            pieces = 2 if inside in ([1, 0, 0, 1], [0, 1, 1, 0]) else 1
            table[code] = pieces * (0.5 * np.sqrt(s0**2 + s1**2))
    return table


def codes(mask: Mask) -> npt.NDArray[np.uint8]:
    """Neighbour codes on the grid of voxel corners, one longer along each axis; outside is background."""
    padded, total = np.pad(mask, 1), np.zeros([n + 1 for n in mask.shape], np.uint8)
    weight = 1 << mask.ndim
    for corner in product((0, 1), repeat=mask.ndim):
        index = sum(bit << (mask.ndim - 1 - axis) for axis, bit in enumerate(corner))
        window = tuple(slice(bit, bit + n) for bit, n in zip(corner, total.shape, strict=True))
        total += padded[window] * np.uint8(1 << (weight - 1 - index))
    return total


def surface(mask: Mask, spacing_mm: Sequence[float], kind: str) -> tuple[Mask, Floats]:
    """Which elements of the grid are surface, and the size of each."""
    if kind == "voxels":
        border = mask & ~ndimage.binary_erosion(mask, border_value=0)
        return border, border.astype(np.float64)
    table = area_table(spacing_mm) if mask.ndim == 3 else length_table(spacing_mm)
    code = codes(mask)
    return (code != 0) & (code != len(table) - 1), table[code]


def directed(own: Mask, size: Floats, other: Mask, spacing_mm: Sequence[float]) -> Direction:
    """Distances from `own` elements to the nearest of `other`, squares summed in axis order."""
    where, sizes = np.argwhere(own), size[own]
    if other.any():
        indices = ndimage.distance_transform_edt(~other, spacing_mm, return_distances=False, return_indices=True)
        nearest = np.stack([axis[own] for axis in indices], axis=1)
        squares = ((where - nearest) * np.asarray(spacing_mm, np.float64)) ** 2
        distances = np.sqrt(np.add.reduce(squares.T, axis=0))
    else:
        distances = np.full(len(where), np.inf)
    order = np.lexsort((sizes, distances))
    distances, sizes = distances[order], sizes[order]
    first = np.ones(len(order), bool)
    first[1:] = (distances[1:] != distances[:-1]) | (sizes[1:] != sizes[:-1])
    starts = np.flatnonzero(first)
    return Direction(distances[starts], sizes[starts], np.diff(np.append(starts, len(order))).astype(np.int64))


def measure(truth: Mask, prediction: Mask, spacing_mm: Sequence[float], kind: str) -> LabelMeasure:
    parts = (truth & prediction, prediction & ~truth, truth & ~prediction)
    tp, fp, fn = (int(np.count_nonzero(part)) for part in parts)
    empty = Direction(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
    directions = (empty, empty)
    union = truth | prediction
    if kind != "none" and union.any():
        box = ndimage.find_objects(union.astype(np.uint8))[0]
        (t, t_size), (p, p_size) = (surface(mask[box], spacing_mm, kind) for mask in (truth, prediction))
        directions = (directed(t, t_size, p, spacing_mm), directed(p, p_size, t, spacing_mm))
    return LabelMeasure(tp, fp, fn, truth.size - tp - fp - fn, *directions)


def surface_measure(
    truth: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    labels: Sequence[tuple[Sequence[int], Sequence[int]]],
    spacing_mm: Sequence[float],
    kind: str,
) -> list[LabelMeasure]:
    """One measure per label; a label is a pair of value sets, one for each map."""
    pairs = ((np.isin(truth, list(own)), np.isin(prediction, list(other))) for own, other in labels)
    return [measure(*pair, spacing_mm, kind) for pair in pairs]
