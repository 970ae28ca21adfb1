"""Do the slices of a series form one volume? Positions come from the headers, order from the normal.

Let n = row x column be the normal of the slices, t = position . n, u = position . row and v = position . column, in
mm. Slices are ordered by t. They fit one upright grid if t lies on t0 + k * spacing and (u, v) is the same for all,
each within `tolerance_mm`. Everything else is a `Fault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from covfast.io.dicom.headers import Slice

Vector = npt.NDArray[np.float64]

JITTER_MM, JITTER_SHARE = 0.1, 0.05
"""Positions may stray by 0.1 mm or 5 % of the spacing, whichever is more: headers round to 0.01 mm, some tables to 0.1.
Larger would let a 1.25 mm series hide a real displacement."""

DIRECTION_TOLERANCE = 1e-3  # of a direction cosine: 0.25 mm across half of a 500 mm field of view
PIXEL_SPACING_TOLERANCE = 2e-4  # relative: 0.1 mm across a 500 mm field of view
MAX_GAP_MM = 10.0  # a wider gap is anatomy that nobody saw: not interpolated
MAX_GROWTH = 2  # planes on the repaired grid a slice: at least every other one was seen
AXIAL_COSINE = 0.8  # the normal within 37 degrees of the body's axis; gantries tilt by at most 30


@dataclass(frozen=True)
class Fault:
    """Why the slices are not one upright volume.

    Attributes:
        code: such as MISSING_SLICE.
        message: what is wrong, with positions, without file names.
        slices: the slices to look at.
        is_repairable: False where a repair would have to invent anatomy or choose between two volumes.
    """

    code: str
    message: str
    slices: tuple[Slice, ...]
    is_repairable: bool = True


@dataclass(frozen=True)
class Stack:
    """Slices of one size and orientation, in order along their normal.

    Attributes:
        slices: in order of t.
        groups: for each place along the normal the slices that lie there; more than one where places are duplicated.
        row, column, normal: (3,) unit vectors: along W, along H, and the direction in which D grows.
        along_mm: (n,) t of each place.
        shift_mm: (n, 2) (u, v) of each place less that of the whole stack.
        spacing_mm: median distance between places; 0 for fewer than two.
        index: (n,) place on the uniform grid, or None where there is no such grid.
        faults: all that is wrong; empty for a sound stack.
        jitter_mm: largest distance of a place from the grid, within the tolerance.
    """

    slices: tuple[Slice, ...]
    groups: tuple[tuple[Slice, ...], ...] = ()
    row: Vector = field(default_factory=lambda: np.zeros(3))
    column: Vector = field(default_factory=lambda: np.zeros(3))
    normal: Vector = field(default_factory=lambda: np.zeros(3))
    along_mm: Vector = field(default_factory=lambda: np.zeros(0))
    shift_mm: Vector = field(default_factory=lambda: np.zeros((0, 2)))
    spacing_mm: float = 0.0
    index: npt.NDArray[np.int64] | None = None
    faults: tuple[Fault, ...] = ()
    jitter_mm: float = 0.0

    @property
    def is_axial(self) -> bool:
        return bool(abs(self.normal[2]) >= AXIAL_COSINE)

    @property
    def extent_mm(self) -> float:
        """Length of the stack along its normal, from the first slice's centre to the last one's, plus one spacing."""
        return float(self.along_mm[-1] - self.along_mm[0]) + self.spacing_mm if len(self.along_mm) else 0.0


def tolerance_mm(spacing_mm: float) -> float:
    """How far a position may stray and still count as on the grid."""
    return max(JITTER_MM, JITTER_SHARE * spacing_mm)


def is_localizer(one: Slice) -> bool:
    """True for scouts and topograms, by ImageType."""
    return any(word in ("LOCALIZER", "SCOUT", "TOPOGRAM") for word in one.image_type)


def _misfit(one: Slice, other: Slice) -> str:
    """Why two slices cannot lie in one stack, as the code of a fault, or ""."""
    if is_localizer(one) != is_localizer(other):
        return "LOCALIZER_IN_SERIES"
    if not (
        one.position and one.orientation and one.spacing and other.position and other.orientation and other.spacing
    ):
        return "" if _has_place(one) == _has_place(other) else "NO_POSITION"
    if np.abs(np.subtract(one.orientation, other.orientation)).max() > DIRECTION_TOLERANCE:
        return "MIXED_ORIENTATION"
    if (one.header.rows, one.header.columns) != (other.header.rows, other.header.columns):
        return "MIXED_SIZE"
    if not np.allclose(one.spacing, other.spacing, rtol=PIXEL_SPACING_TOLERANCE):
        return "MIXED_PIXEL_SPACING"
    return ""


def _has_place(one: Slice) -> bool:
    return bool(one.position and one.orientation and one.spacing)


_MISFITS = {
    "LOCALIZER_IN_SERIES": "are localizers",
    "NO_POSITION": "lack position, orientation or pixel spacing",
    "MIXED_ORIENTATION": "have another orientation than the rest",
    "MIXED_SIZE": "have another number of rows or columns than the rest",
    "MIXED_PIXEL_SPACING": "have another pixel spacing than the rest",
}


def split_majority(slices: Sequence[Slice]) -> tuple[list[Slice], list[Fault]]:
    """The largest set of slices that fit together, and a fault for every way in which others do not."""
    sets: list[list[Slice]] = []
    for one in slices:
        home = next((members for members in sets if not _misfit(one, members[0])), None)
        if home is None:
            sets.append([one])
        else:
            home.append(one)
    # A localizer is never the volume, however many there are.
    majority = max(sets, key=lambda members: (not is_localizer(members[0]), len(members)))
    others: dict[str, list[Slice]] = {}
    for one in (one for members in sets if members is not majority for one in members):
        others.setdefault(_misfit(one, majority[0]) or "NO_POSITION", []).append(one)
    is_clear = 2 * len(majority) > len([one for one in slices if not is_localizer(one)])
    faults = [
        Fault(code, f"{len(members)} of {len(slices)} slices {_MISFITS[code]}", tuple(members), is_clear)
        for code, members in others.items()
    ]
    return majority, faults


def _directions(one: Slice) -> tuple[Vector, Vector, Vector] | None:
    """Orthonormal row, column and normal of a slice, or None where its orientation is not a pair of unit vectors."""
    row, column = np.array(one.orientation[:3], float), np.array(one.orientation[3:], float)  # type: ignore[index]
    lengths = np.sqrt([row @ row, column @ column])
    if not np.isfinite(lengths).all() or np.abs(lengths - 1).max() > 1e-2 or abs(row @ column) > 1e-2:
        return None
    row /= lengths[0]
    column -= (column @ row) * row
    column /= np.sqrt(column @ column)
    return row, column, np.cross(row, column)


def _is_measured(one: Slice) -> bool:
    if not _has_place(one):
        return False
    numbers = (*(one.position or ()), *(one.spacing or ()))
    return bool(np.isfinite(numbers).all()) and min(numbers[3:]) > 0


def analyse(slices: Sequence[Slice]) -> Stack:
    """The stack that the slices of one series form, with its faults."""
    majority, faults = split_majority(slices)
    bad = tuple(one for one in majority if not _is_measured(one))
    directions = None if bad else _directions(majority[0])
    if directions is None:
        message = "positions, orientations or pixel spacings that are missing or no numbers"
        return Stack(
            tuple(majority), faults=(*faults, Fault("NO_GEOMETRY", message, bad or tuple(majority[:1]), False))
        )
    row, column, normal = directions
    positions = np.array([one.position for one in majority], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    majority, positions = [majority[i] for i in order], positions[order]
    groups, places = _places(majority, positions @ normal)
    along = (positions @ normal)[places]
    offsets = np.stack([positions @ row, positions @ column], axis=1)[places]
    shift = offsets - np.median(offsets, axis=0)
    spacing = float(np.median(np.diff(along))) if len(along) > 1 else 0.0
    index, jitter, along_faults = _grid(along, spacing, groups)
    faults += [*_duplicates(groups), *_lone(groups), *_sideways(along, shift, spacing, groups), *along_faults]
    return Stack(tuple(majority), groups, row, column, normal, along, shift, spacing, index, tuple(faults), jitter)


def _places(slices: Sequence[Slice], along: Vector) -> tuple[tuple[tuple[Slice, ...], ...], list[int]]:
    """Slices grouped by place along the normal, and the first index of each group.

    Two slices share a place if they lie closer than a tenth of the usual distance, or than 0.01 mm.
    """
    gaps = np.diff(along)
    usual = float(np.median(gaps[gaps > 0.01])) if (gaps > 0.01).any() else 0.0
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(gaps > max(0.01, 0.1 * usual)))]
    ends = [*starts[1:], len(along)]
    return tuple(tuple(slices[a:b]) for a, b in zip(starts, ends, strict=True)), starts


def _duplicates(groups: Sequence[tuple[Slice, ...]]) -> list[Fault]:
    double = [group for group in groups if len(group) > 1]
    if not double:
        return []
    message = f"more than one slice at {len(double)} of the positions"
    return [Fault("DUPLICATE_POSITION", message, tuple(one for group in double for one in group))]


def _lone(groups: Sequence[tuple[Slice, ...]]) -> list[Fault]:
    if len(groups) > 1:
        return []
    return [Fault("LONE_SLICE", "one slice, which is no volume", groups[0], False)]


def _sideways(along: Vector, shift: Vector, spacing: float, groups: Sequence[tuple[Slice, ...]]) -> list[Fault]:
    """Gantry tilt where (u, v) drifts linearly with t; a sideways shift where it moves in any other way."""
    if len(along) < 2 or np.abs(shift).max() <= tolerance_mm(spacing):
        return []
    slopes, origin = np.polynomial.polynomial.polyfit(along, shift, 1)[::-1]
    rest = np.abs(shift - origin - along[:, None] * slopes).max(axis=1)
    if rest.max() <= tolerance_mm(spacing):
        degrees = float(np.degrees(np.arctan(np.hypot(*slopes))))
        message = f"a gantry tilt of {degrees:.1f} degrees: slices slide by {np.abs(shift).max():.1f} mm either way"
        return [Fault("GANTRY_TILT", message, tuple(group[0] for group in groups))]
    displaced = np.abs(shift).max(axis=1) > tolerance_mm(spacing)
    message = f"displaced sideways: {int(displaced.sum())} slices by up to {np.abs(shift).max():.1f} mm"
    return [Fault("SIDEWAYS_SHIFT", message, tuple(groups[i][0] for i in np.flatnonzero(displaced).tolist()))]


def _grid(
    along: Vector, spacing: float, groups: Sequence[tuple[Slice, ...]]
) -> tuple[npt.NDArray[np.int64] | None, float, list[Fault]]:
    """Index of each place on the uniform grid, the jitter around it, and the gaps or irregularities found."""
    if len(along) < 2:
        return None, 0.0, []
    steps = np.maximum(np.rint(np.diff(along) / spacing).astype(np.int64), 1)
    index = np.concatenate([[0], np.cumsum(steps)])
    # The grid is fitted, not extrapolated from the median: rounded positions must not add up over 300 slices.
    slope, origin = np.polynomial.polynomial.polyfit(index, along, 1)[::-1]
    jitter = float(np.abs(along - origin - slope * index).max())
    if jitter > tolerance_mm(spacing):
        gaps = np.diff(along)
        odd = np.flatnonzero(np.abs(gaps - spacing) > tolerance_mm(spacing)).tolist()
        message = (
            f"distances from {gaps.min():.3f} to {gaps.max():.3f} mm between slices, {spacing:.3f} mm in the median"
        )
        touched = tuple(groups[i + 1][0] for i in odd) or tuple(group[0] for group in groups)
        is_near = float(gaps.max()) <= MAX_GAP_MM and along[-1] - along[0] <= MAX_GROWTH * len(along) * spacing
        return None, jitter, [Fault("IRREGULAR_SPACING", message, touched, is_near)]
    missing = np.flatnonzero(steps > 1).tolist()
    if not missing:
        return index, jitter, []
    edges = ", ".join(f"{along[i]:.2f} and {along[i + 1]:.2f} mm" for i in missing[:3])
    message = f"missing slices: {int((steps - 1).sum())}, between {edges}{' and elsewhere' if len(missing) > 3 else ''}"
    beside = tuple(groups[j][0] for i in missing for j in (i, i + 1))
    # One slice alone may be interpolated however thick the slices are.
    is_narrow = index[-1] < MAX_GROWTH * len(along) and all(
        steps[i] == 2 or along[i + 1] - along[i] <= MAX_GAP_MM for i in missing
    )
    return index, jitter, [Fault("MISSING_SLICE", message, beside, is_narrow)]
