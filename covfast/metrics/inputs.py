"""What the metrics take: masks, label maps, their grids and spacing; checked here, measured natively."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from covfast import _core
from covfast.adapters import image_grid
from covfast.errors import DTypeError, GeometryError, ShapeError, ValueRangeError, describe, file_name
from covfast.volume import LABELS, Geometry, Segmentation, Volume

MOST_THREADS = 256
SPACING_RANGE_MM = (1e-50, 1e50)
"""Squares of distances and products of three spacings keep all their digits within it."""

SAME_MM = 1e-3
"""Spacings and grids that differ by less are one: the tolerance of `Geometry.is_close`."""

MOST_SHEAR = 1e-3
"""Cosine between two axes that is still a right angle: float32 headers are good to 1e-6."""


@dataclass(frozen=True)
class LabelValues:
    """The values that make up one label: a voxel is in its mask where the map holds one of them.

    Attributes:
        name: the label's name.
        truth, prediction: the values in either map.
    """

    name: str
    truth: tuple[int, ...]
    prediction: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pair:
    """A truth and a prediction on the truth's grid, ready for the native code.

    Attributes:
        truth, prediction: arrays of one shape (D, H, W) or (H, W), or device arrays; not copied unless their type must
            change.
        spacing_mm: voxel size in the order of the axes; 1 where it is not known.
        has_spacing: whether it is known.
        names: value -> name in either map: those the input brought, else covfast's own.
        grids: geometry of the truth and, as it was given, of the prediction, where they brought one.
    """

    truth: Any
    prediction: Any
    spacing_mm: tuple[float, ...]
    has_spacing: bool
    names: tuple[Mapping[int, str], Mapping[int, str]]
    grids: tuple[Geometry | None, Geometry | None]

    @property
    def known_spacing_mm(self) -> tuple[float, ...]:
        """`spacing_mm`, NaN where it is not known."""
        return self.spacing_mm if self.has_spacing else (math.nan,) * len(self.spacing_mm)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL; NaN where it is not known, and for a 2-D image, which has none."""
        return math.prod(self.known_spacing_mm) / 1000.0 if len(self.spacing_mm) == 3 else math.nan

    @property
    def is_bool(self) -> bool:
        """Whether both are masks by their type."""
        return dtype_of(self.truth) == np.bool_ and dtype_of(self.prediction) == np.bool_

    def masks(self, label: LabelValues) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """A label's masks, made anew. Raises: DTypeError: device arrays."""
        sides = (("truth", self.truth, label.truth), ("pred", self.prediction, label.prediction))
        for name, array, _ in sides:
            if not isinstance(array, np.ndarray):
                raise DTypeError(describe(name, type(array).__name__, "an array in host memory for these figures"))
        truth, prediction = (np.isin(array, values) for _, array, values in sides)
        return truth, prediction

    def probability_map(self, image: Any) -> npt.NDArray[Any]:
        """A map of the prediction's, as array or image, with its axes in the order of the truth's.

        An array has its axes in the order of the prediction's.
        """
        found = _as_map("probability", image)
        if not isinstance(found.array, np.ndarray):
            raise DTypeError(describe("probability", type(image).__name__, "an array in host memory"))
        mine, theirs = self.grids[0] or self.grids[1], found.geometry or self.grids[1]
        # A map of another size is resized by who measures it, so it cannot be moved.
        if mine is None or theirs is None or found.array.shape != theirs.shape[3 - found.array.ndim :]:
            return found.array
        moved: npt.NDArray[Any] = _on_grid("probability", found.array, theirs, mine)
        return moved


@dataclass(frozen=True, eq=False)
class _Map:
    """One input: its array, and its geometry and names if it brought them."""

    array: Any
    geometry: Geometry | None = None
    names: Mapping[int, str] | None = None


def as_pair(truth: Any, pred: Any, spacing_mm: Sequence[float] | None, *, needs_spacing: bool = True) -> Pair:
    """Two maps on one grid, their axes in one order, with their spacing.

    Args:
        truth, pred: arrays, `Volume`, `Segmentation`, a `Segmenter`'s result, SimpleITK or nibabel images.
        spacing_mm: voxel size along the array's axes; None if an image brings it.
        needs_spacing: False where lengths do not matter: voxels are then cubes of 1 mm if nothing else is known.
    Raises: ShapeError, DTypeError, ValueRangeError; GeometryError: grids that differ, or axes not at right angles.
    """
    one, other = _as_map("truth", truth), _as_map("pred", pred)
    first, second, grid = one.array, other.array, one.geometry or other.geometry
    rank, shape = len(_shape(first)), _shape(first)
    if one.geometry is not None and other.geometry is not None and rank == len(_shape(second)):
        second = _on_grid("pred", second, other.geometry, one.geometry)
    if shape != _shape(second):
        is_mixed = (one.geometry is None) != (other.geometry is None)
        hint = "beside an image an array has the image's order of axes: SimpleITK (z, y, x), nibabel (x, y, z)"
        raise ShapeError(
            describe("pred", f"shape {_shape(second)}", f"{shape}, the shape of truth", hint if is_mixed else "")
        )
    if rank not in (2, 3):
        raise ShapeError(describe("truth", f"shape {shape}", "(D, H, W) or (H, W)", "measure cases one by one"))
    if min(shape) < 1:
        raise ShapeError(describe("truth", f"shape {shape}", "at least one voxel along every axis"))
    names, grids = (one.names or LABELS, other.names or LABELS), (one.geometry, other.geometry)
    if not needs_spacing and spacing_mm is None and (grid is None or _is_sheared(grid)):
        return Pair(first, second, (1.0,) * rank, False, names, grids)
    return Pair(first, second, _as_spacing(spacing_mm, grid, rank), True, names, grids)


def _as_map(name: str, image: Any) -> _Map:
    if isinstance(getattr(image, "segmentation", None), Segmentation):  # a Segmenter's result
        image = image.segmentation
    if isinstance(image, Segmentation):
        return _Map(image.labels, image.geometry, image.names)
    if isinstance(image, Volume):
        return _Map(image.hu, image.geometry)
    found = image_grid(name, image, own_axes=True)
    if found is not None:
        return _Map(_native(name, found[0]), found[1])
    _check_is_array(name, image)
    if hasattr(image, "__cuda_array_interface__"):
        return _Map(image)
    return _Map(_native(name, _as_array(name, image)))


def _check_is_array(name: str, image: Any) -> None:
    """Raises: DTypeError: a path, something else that is no array, a tensor that no other library can read."""
    kind = type(image).__name__
    if isinstance(image, (str, os.PathLike)):
        hint = "read it with covfast.io.read_labels, or use covfast.evaluation.evaluate_folders"
        raise DTypeError(describe(name, f"{kind} {file_name(image)!r}", "an array or image in memory", hint))
    # On a GPU torch raises where it is asked for the interface of such a tensor.
    if getattr(image, "requires_grad", False):
        raise DTypeError(describe(name, f"{kind} that requires grad", "one without", f"pass {name}.detach()"))
    if str(getattr(image, "dtype", "")) == "torch.bfloat16":
        raise DTypeError(describe(name, f"bfloat16 {kind}", "a type that NumPy has", f"pass {name}.float()"))


def _as_array(name: str, image: Any) -> npt.NDArray[Any]:
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "__dlpack__"):
        try:
            return np.from_dlpack(image)
        except (BufferError, TypeError, RuntimeError):
            pass  # a type that NumPy's DLPack does not know: the library's own conversion may
    try:
        array = np.asarray(image)
    except (TypeError, RuntimeError) as error:
        raise DTypeError(describe(name, type(image).__name__, "an array on the CPU or CUDA", str(error))) from None
    except ValueError:
        raise ShapeError(describe(name, "rows of different lengths", "an array (D, H, W) or (H, W)")) from None
    if array.ndim == 0 and array.dtype.kind not in "biuf":
        raise DTypeError(describe(name, type(image).__name__, "an array or image in memory"))
    return array


def _native(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same array in a type that the native code reads; copied only for rare ones (float16, foreign byte order)."""
    dtype = array.dtype
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise DTypeError(describe(name, dtype, "bool, whole numbers, or floats that hold whole numbers"))
    if dtype == np.float16:
        return array.astype(np.float32)
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    return np.require(array, requirements="A")


def _shape(array: Any) -> tuple[int, ...]:
    shape = array.shape if isinstance(array, np.ndarray) else array.__cuda_array_interface__["shape"]
    return tuple(int(n) for n in shape)


def dtype_of(array: Any) -> np.dtype[Any]:
    return np.dtype(array.dtype if isinstance(array, np.ndarray) else array.__cuda_array_interface__["typestr"])


def _on_grid(name: str, array: Any, grid: Geometry, target: Geometry) -> Any:
    """The array with its axes in the order of `target`: a view, as the grids may differ by transposition and flips."""
    if grid.is_close(target, SAME_MM):
        return array
    mine, theirs = grid.canonical(), target.canonical()
    if not mine.is_close(theirs, SAME_MM):
        expected = f"the grid of truth, {_grid_text(theirs, mine)}"
        hint = "resample one of them onto the other"
        raise GeometryError(describe(name, _grid_text(mine, theirs), expected, hint))
    volume = array if array.ndim == 3 else array[np.newaxis]
    moved = target.from_canonical(grid.to_canonical(volume))
    return moved if array.ndim == 3 else moved[0]


def _grid_text(grid: Geometry, other: Geometry) -> str:
    """What differs between two canonical grids, as it is in the first."""
    if grid.shape != other.shape:
        return f"shape {grid.shape}"
    parts = []
    if not np.allclose(grid.spacing_mm, other.spacing_mm, rtol=0, atol=SAME_MM / max(grid.shape)):
        parts.append(f"spacing {tuple(round(value, 6) for value in grid.spacing_mm)} mm")
    origin = grid.affine[:3, 3]
    if not np.allclose(origin, other.affine[:3, 3], rtol=0, atol=SAME_MM):
        parts.append(f"origin {tuple(round(float(value), 3) for value in origin)} mm")
    mine, theirs = (g.affine[:3, :3] / g.spacing_mm for g in (grid, other))
    if not parts or not np.allclose(mine, theirs, rtol=0, atol=1e-4):
        parts.append(f"directions {np.round(mine, 5).tolist()}")
    return ", ".join(parts)


def _as_spacing(spacing_mm: Sequence[float] | None, grid: Geometry | None, rank: int) -> tuple[float, ...]:
    given = None if spacing_mm is None else check_spacing(spacing_mm, rank)
    if grid is None:
        if given is None:
            hint = "(1, 1, 1) measures in voxels" if rank == 3 else "(1, 1) measures in pixels"
            raise ValueRangeError(describe("spacing_mm", None, f"{rank} numbers in mm, in the order of axes", hint))
        return given
    own = _spacing_of(grid, rank)
    if given is not None and not np.allclose(given, own, rtol=0, atol=SAME_MM):
        hint = "leave spacing_mm out: the image has its own"
        raise GeometryError(describe("spacing_mm", given, f"{own}, along the axes of the image", hint))
    return own if given is None else given


def _is_sheared(grid: Geometry) -> bool:
    columns = grid.affine[:3, :3] / grid.spacing_mm
    return float(np.abs(columns.T @ columns - np.eye(3)).max()) > MOST_SHEAR


def _spacing_of(grid: Geometry, rank: int) -> tuple[float, ...]:
    if _is_sheared(grid):
        hint = "pass arrays and spacing_mm to measure as if they were"
        raise GeometryError(describe("truth", "axes that are not at right angles", "a grid without shear", hint))
    # The length of an oblique axis carries the rounding of a float32 header: 1.0000001 mm would move every voxel that
    # lies at a tolerance of 1 mm exactly beyond it. An upright axis has its one number as it is stored.
    is_oblique = np.count_nonzero(grid.affine[:3, :3]) > 3
    spacing = [_short(value) if is_oblique else value for value in grid.spacing_mm]
    return tuple(spacing[3 - rank :])


def _short(value: float) -> float:
    """The multiple of 1e-4 mm that a length is within float32's rounding, or the length."""
    short = round(value, 4)
    return short if abs(short - value) <= 1e-6 * value else value


def check_spacing(spacing_mm: Sequence[float], rank: int) -> tuple[float, ...]:
    """Spacing as floats. Raises: ShapeError: not `rank` numbers; ValueRangeError: not finite or not positive."""
    try:
        values = np.asarray(spacing_mm, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueRangeError(describe("spacing_mm", repr(spacing_mm), f"{rank} numbers in mm")) from None
    if values.shape != (rank,):
        expected = f"{rank} numbers, one for each axis of the arrays"
        raise ShapeError(describe("spacing_mm", values.tolist(), expected))
    low, high = SPACING_RANGE_MM
    if not ((values >= low) & (values <= high)).all():
        raise ValueRangeError(describe("spacing_mm", values.tolist(), f"finite numbers > 0, {low:g} to {high:g} mm"))
    return tuple(float(value) for value in values)


def check_tolerance(tolerance_mm: Any, name: str = "tolerance_mm") -> float:
    """Tolerance as a float. Raises: ValueRangeError: negative, NaN or no number."""
    if isinstance(tolerance_mm, bool) or not isinstance(tolerance_mm, (int, float, np.integer, np.floating)):
        raise ValueRangeError(describe(name, repr(tolerance_mm), "a number of mm, 0 or more"))
    if not tolerance_mm >= 0:
        raise ValueRangeError(describe(name, float(tolerance_mm), "a number of mm, 0 or more"))
    return float(tolerance_mm)


def check_masks(pair: Pair) -> None:
    """Raises: ValueRangeError: an array that is no mask, because it holds something beside 0 and 1."""
    for name, array in (("truth", pair.truth), ("pred", pair.prediction)):
        if dtype_of(array) == np.bool_:
            continue
        low, high = float(array.min()), float(array.max())
        got = f"values from {low:g} to {high:g}"
        is_mask = low >= 0 and high <= 1
        if is_mask and dtype_of(array).kind == "f":
            is_mask, got = all(bool(((part == 0) | (part == 1)).all()) for part in array), "fractions"
        if not is_mask:
            is_black_white = low == 0 and high == 255 and bool(((array == 0) | (array == 255)).all())
            hint = f"pass {name} > 0" if is_black_white else f"pass {name} == label"
            raise ValueRangeError(describe(name, got, "a mask: bool, or 0 and 1", hint))


def check_threads(threads: int | None) -> int:
    """Threads as the native code takes them, 0 for all. Raises: ValueRangeError."""
    is_count = isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= MOST_THREADS
    if threads is not None and not is_count:
        raise ValueRangeError(describe("threads", repr(threads), f"a whole number from 1 to {MOST_THREADS}"))
    return threads or 0


def measure(pair: Pair, labels: Sequence[LabelValues], kind: str, device: str, threads: int | None) -> list[Any]:
    """What the native code counts and finds, one entry per label: (tp, fp, fn, tn, truth to pred, pred to truth)."""
    if not isinstance(device, str):
        raise ValueRangeError(describe("device", repr(device), "'auto', 'cpu', 'cuda' or 'cuda:N'"))
    values = [(list(label.truth), list(label.prediction)) for label in labels]
    spacing = list(pair.spacing_mm)
    return _core.surface_measure(pair.truth, pair.prediction, values, spacing, kind, device, check_threads(threads))


@dataclass(frozen=True, eq=False)
class MaskMeasure:
    """A pair of masks and what was measured of it."""

    pair: Pair
    measure: Any


def measure_masks(
    truth: Any, pred: Any, spacing_mm: Sequence[float] | None, kind: str, device: str, threads: int | None
) -> MaskMeasure:
    """Measure of two masks; `kind` is "surfels", "voxels" or "none"."""
    pair = as_pair(truth, pred, spacing_mm, needs_spacing=kind != "none")
    check_masks(pair)
    (found,) = measure(pair, [LabelValues("mask", (1,), (1,))], kind, device, threads)
    return MaskMeasure(pair, found)
