"""Volume, Segmentation and Geometry: the only place where axis order is defined.

Arrays are (D, H, W). Patient coordinates are LPS in mm: +x to the patient's left, +y to posterior, +z to superior.
The canonical orientation, which a bare array is taken to have, runs inferior to superior along D, anterior to posterior
along H and patient right to left along W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast.errors import DTypeError, GeometryError, ShapeError, ValueRangeError, describe

CANONICAL = "SPL"
"""Orientation of a bare array: the direction in which each of D, H, W grows."""

LABELS: Mapping[int, str] = {0: "background", 1: "left lung", 2: "right lung", 3: "infection"}
"""Values of `labels.nii.gz`: the order of the COVID-19-CT-Seg benchmark (lungmask's is 1 right, 2 left)."""

LEFT_LUNG, RIGHT_LUNG, INFECTION = 1, 2, 3

LESION_TYPES: Mapping[int, str] = {0: "background", 1: "ground glass", 2: "consolidation"}
"""Values of `lesion_types.nii.gz`."""

GROUND_GLASS, CONSOLIDATED = 1, 2
CONSOLIDATION = "consolidation of lesions"
"""Label 3 of a model that tells the types of lesions apart: where there is a lesion, whether it is consolidation."""

# Letter -> (LPS axis, sign). "S" grows towards the head: +z.
_DIRECTIONS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def _matrix(orientation: str) -> npt.NDArray[np.float64]:
    """(3, 3) direction matrix whose columns are the LPS directions of D, H, W."""
    letters = orientation.upper()
    axes = [_DIRECTIONS.get(letter, (-1, 0))[0] for letter in letters]
    if len(letters) != 3 or sorted(axes) != [0, 1, 2]:
        raise ValueRangeError(
            describe(
                "orientation",
                repr(orientation),
                "three letters, one of each pair L/R, P/A, S/I",
                f'for example "{CANONICAL}"',
            )
        )
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(letters):
        axis, sign = _DIRECTIONS[letter]
        matrix[axis, column] = sign
    return matrix


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a (D, H, W) grid lie in the patient.

    Attributes:
        shape: (D, H, W) number of voxels.
        affine: (4, 4) float64, from (d, h, w) indices to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ShapeError(describe("shape", tuple(self.shape), "(D, H, W), each at least 1"))
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ShapeError(describe("affine", affine.shape, "(4, 4)"))
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError(
                describe("affine", affine[:3, :3].tolist(), "finite numbers and three independent axes")
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        orientation: str = CANONICAL,
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Geometry:
        """Geometry of an upright grid.

        Args:
            shape: (D, H, W).
            spacing_mm: (3,) voxel size along D, H, W in mm, each > 0.
            orientation: the direction in which D, H, W grow, such as "SPL".
            origin_mm: (3,) LPS position of voxel (0, 0, 0).
        Raises: ShapeError, ValueRangeError: spacing is not three positive finite numbers.
        """
        try:
            spacing = np.asarray(spacing_mm, dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueRangeError(describe("spacing_mm", repr(spacing_mm), "three numbers in mm")) from None
        if spacing.shape != (3,):
            raise ShapeError(describe("spacing_mm", spacing_mm, "three numbers, one for each of D, H, W"))
        if not np.isfinite(spacing).all() or (spacing <= 0).any():
            raise ValueRangeError(describe("spacing_mm", spacing.tolist(), "finite numbers > 0"))
        affine = np.eye(4)
        affine[:3, :3] = _matrix(orientation) * spacing
        affine[:3, 3] = origin_mm
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along D, H, W in mm: the lengths of the affine's columns."""
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL (the affine's determinant, so a sheared grid counts right)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axes(self) -> tuple[int, int, int]:
        """For each canonical axis (D, H, W), the array axis along it: the permutation with the largest cosines."""
        cosines = np.abs(self.affine[:3, :3]) / np.asarray(self.spacing_mm)
        best, best_score = (0, 1, 2), -1.0
        for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
            score = cosines[2, order[0]] + cosines[1, order[1]] + cosines[0, order[2]]
            if score > best_score + 1e-9:
                best, best_score = order, score
        return best

    @property
    def flips(self) -> tuple[bool, bool, bool]:
        """For each canonical axis (D, H, W), whether the array axis of `axes` runs against it."""
        d, h, w = self.axes
        return bool(self.affine[2, d] < 0), bool(self.affine[1, h] < 0), bool(self.affine[0, w] < 0)

    @property
    def orientation(self) -> str:
        """Direction in which D, H, W grow, such as "SPL": the nearest of the 48 upright ones."""
        letters = [""] * 3
        for canonical, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            letters[axis] = ("SI", "PA", "LR")[canonical][flip]
        return "".join(letters)

    def is_close(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """True if both grids have one shape and every corner lies within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        d, h, w = (n - 1 for n in self.shape)
        corners = np.array([(a, b, c, 1) for a in (0, d) for b in (0, h) for c in (0, w)], dtype=np.float64).T
        return bool(np.abs((self.affine - other.affine) @ corners).max() <= tolerance_mm)

    def canonical(self) -> Geometry:
        """Geometry of the same grid after `to_canonical`."""
        affine = np.array(self.affine)
        columns = [np.array(affine[:3, axis]) for axis in self.axes]
        origin = np.array(affine[:3, 3])
        for canonical, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            if flip:
                origin += columns[canonical] * (self.shape[axis] - 1)
                columns[canonical] = -columns[canonical]
        result = np.eye(4)
        result[:3, :3] = np.stack(columns, axis=1)
        result[:3, 3] = origin
        d, h, w = (self.shape[axis] for axis in self.axes)
        return Geometry((d, h, w), result)

    def to_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View of a (D, H, W) array on this grid in canonical orientation; no copy."""
        view = array.transpose(self.axes)
        return view[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def view_axes(self, orientation: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """For each axis of a view in `orientation`, the array axis along it and whether that runs backwards.

        Args:
            orientation: three letters such as "SAR"; "file" for the array as it is.
        Raises: ValueRangeError: no orientation.
        """
        if orientation == "file":
            return (0, 1, 2), (False, False, False)
        matrix = _matrix(orientation)  # of LPS axis and view axis; canonical D, H, W run along z, y, x
        canonical = [(2, 1, 0)[int(np.abs(matrix[:, axis]).argmax())] for axis in range(3)]
        backwards = [bool(matrix[:, axis].sum() < 0) for axis in range(3)]
        a, b, c = (self.axes[at] for at in canonical)
        flip_a, flip_b, flip_c = (self.flips[at] != turn for at, turn in zip(canonical, backwards, strict=True))
        return (a, b, c), (flip_a, flip_b, flip_c)

    def view(self, array: npt.NDArray[Any], orientation: str) -> npt.NDArray[Any]:
        """View of a (D, H, W) or (D, H, W, C) array on this grid whose axes grow as `orientation` says; no copy."""
        axes, flips = self.view_axes(orientation)
        turned = array.transpose((*axes, *range(3, array.ndim)))
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    def from_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Inverse of `to_canonical`; no copy."""
        view = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return view.transpose(np.argsort(self.axes))


def _check_grid(name: str, array: npt.NDArray[Any], geometry: Geometry) -> None:
    if array.ndim != 3 or array.shape != geometry.shape:
        raise ShapeError(describe(name, f"shape {array.shape}", f"{geometry.shape}, the shape of its geometry"))


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume in Hounsfield units.

    Attributes:
        hu: (D, H, W) int16 where every value is a whole number, float32 otherwise.
        geometry: where its voxels lie.
        notes: what reading changed or declares, for `run.json`: {"code": ..., "message": ...} each, such as padding set
            to air or a geometry repair. Never a patient's name, id or path.
        scan: facts of the scan that are safe to publish: modality, series UID, slice thickness and the like.
    """

    hu: npt.NDArray[Any]
    geometry: Geometry
    notes: tuple[Mapping[str, Any], ...] = ()
    scan: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hu.dtype not in (np.int16, np.float32):
            raise DTypeError(describe("hu", self.hu.dtype, "int16 or float32"))
        _check_grid("hu", self.hu, self.geometry)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label map on the grid of the volume it belongs to.

    Attributes:
        labels: (D, H, W) uint8.
        geometry: where its voxels lie.
        names: label value -> name.
    """

    labels: npt.NDArray[np.uint8]
    geometry: Geometry
    names: Mapping[int, str] = field(default_factory=lambda: dict(LABELS))

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8:
            raise DTypeError(describe("labels", self.labels.dtype, "uint8"))
        is_named = isinstance(self.names, Mapping)
        if not is_named or not all(isinstance(value, (int, np.integer)) for value in self.names):
            raise ValueRangeError(describe("names", repr(self.names), 'value -> name, such as {3: "infection"}'))
        _check_grid("labels", self.labels, self.geometry)
