"""Distances between two mask surfaces: measured once, asked often.

Source: Nikolov et al. 2018, arXiv:1809.04430 (surface Dice) and google-deepmind/surface-distance, whose definitions are
the defaults here; docs/metrics.md tells which setting reproduces which other tool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from covfast.errors import ValueRangeError, describe
from covfast.metrics.inputs import check_tolerance, measure_masks
from covfast.metrics.overlap import Confusion, ratio, unless_empty

Surface = Literal["surfels", "voxels"]
Combine = Literal["max", "mean", "pooled", "truth_to_pred", "pred_to_truth"]
Interpolation = Literal["none", "linear"]

SURFACES = ("surfels", "voxels")
COMBINE = ("max", "mean", "pooled", "truth_to_pred", "pred_to_truth")
INTERPOLATION = ("none", "linear")

NEAR_TIE = 1e-9
"""Shares of the surface this close to a percentile are decided by the reference's own sum: far above what the order of
summation moves a share by, far below the share of one element."""


@dataclass(frozen=True, eq=False)
class DirectedDistances:
    """Distances from every element of one surface to the nearest of the other, in groups of equal distance and size.

    Attributes:
        distance_mm: (groups,) float64, ascending; inf where the other surface is empty.
        element: (groups,) float64 size of one element: mm2 (surfels of a volume), mm (of an image), or 1 (voxels).
        count: (groups,) int64 elements.
    """

    distance_mm: npt.NDArray[np.float64]
    element: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]

    @cached_property
    def _sums(self) -> tuple[npt.NDArray[np.float64], float]:
        """Size of the first 1, 2, ... groups, and the sum of distance times size; one array is all the memory."""
        sizes = self.element * self.count
        total_mm = float(np.einsum("i,i->", self.distance_mm, sizes))
        return np.cumsum(sizes, out=sizes), total_mm

    @cached_property
    def _elements_up_to(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.count)

    @cached_property
    def elements(self) -> int:
        """Number of surface elements."""
        return int(self.count.sum())

    @property
    def size(self) -> float:
        """Sum of the elements' sizes."""
        return float(self._sums[0][-1]) if len(self.count) else 0.0

    @property
    def total_mm(self) -> float:
        """Sum of distance times size."""
        return self._sums[1]

    @property
    def mean_mm(self) -> float:
        """Mean distance, weighted by size; NaN for an empty surface."""
        return ratio(self.total_mm, self.size)

    def size_within(self, tolerance_mm: float) -> float:
        """Size of the elements whose distance is `tolerance_mm` or less."""
        groups = int(np.searchsorted(self.distance_mm, tolerance_mm, side="right"))
        return float(self._sums[0][groups - 1]) if groups else 0.0

    def percentile_mm(self, percentile: float, interpolation: Interpolation) -> float:
        """Percentile of the distances; inf for an empty surface.

        "none": the smallest distance up to which the elements make at least `percentile` percent of the size. "linear":
        between two neighbours of the sorted elements, each counting once, as NumPy's percentile.
        """
        if not len(self.distance_mm):
            return math.inf
        if interpolation == "linear":
            return self._linear(percentile / 100.0)
        wanted = percentile / 100.0
        slack = max(NEAR_TIE, 4 * np.finfo(np.float64).eps * self.elements)
        last = len(self.distance_mm) - 1
        ends = np.searchsorted(self._sums[0], ((wanted - slack) * self.size, (wanted + slack) * self.size))
        low, high = np.minimum(ends, last)
        if self.distance_mm[low] == self.distance_mm[high]:
            return float(self.distance_mm[low])
        return self._replayed(wanted)

    def _replayed(self, wanted: float) -> float:
        """The answer where rounding decides: deepmind's sum, element by element, in its order."""
        elements = np.repeat(self.element, self.count)
        share = np.cumsum(elements) / np.sum(elements)
        index = min(int(np.searchsorted(share, wanted)), len(share) - 1)
        return float(self.distance_mm[np.searchsorted(self._elements_up_to, index, side="right")])

    def _linear(self, wanted: float) -> float:
        place = (self.elements - 1) * wanted
        below = math.floor(place)
        groups = np.searchsorted(self._elements_up_to, (below, min(below + 1, self.elements - 1)), side="right")
        low, high = (float(value) for value in self.distance_mm[groups])
        if low == high:
            return low
        part = place - below
        # NumPy's two forms of the same line: which one is exact at its end depends on the side.
        return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between the surfaces of a truth and a prediction, in both directions.

    Attributes:
        truth_to_pred, pred_to_truth: the directed distances.
        confusion: voxel counts of the masks.
        spacing_mm: voxel size in the order of the truth's axes.
        surface: "surfels" or "voxels".
    """

    truth_to_pred: DirectedDistances = field(repr=False)
    pred_to_truth: DirectedDistances = field(repr=False)
    confusion: Confusion
    spacing_mm: tuple[float, ...]
    surface: Surface

    def nsd(self, tolerance_mm: float, *, both_empty: float = math.nan, one_empty: float = 0.0) -> float:
        """Normalised surface distance, or surface Dice: the share of both surfaces within a tolerance of the other.

        ``(|T within tolerance of P| + |P within tolerance of T|) / (|T| + |P|)``, sizes of surface; "within" is <=.

        Args:
            tolerance_mm: 0 or more.
            both_empty, one_empty: the answer where both masks, or one of them, have no voxel.
        Raises: ValueRangeError: a negative tolerance, NaN.
        """
        tolerance = check_tolerance(tolerance_mm)
        within = self.truth_to_pred.size_within(tolerance) + self.pred_to_truth.size_within(tolerance)
        value = ratio(within, self.truth_to_pred.size + self.pred_to_truth.size)
        return unless_empty(value, self.confusion, both_empty, one_empty)

    def overlap(
        self, tolerance_mm: float, *, both_empty: float | None = None, one_empty: float | None = None
    ) -> tuple[float, float]:
        """Share of the truth's surface within a tolerance of the prediction's, and the reverse.

        Args:
            tolerance_mm: 0 or more.
            both_empty, one_empty: both numbers where both masks, or one of them, are empty. None: the share of an empty
                surface is NaN, that of the other 0.
        Raises: ValueRangeError: a negative tolerance, NaN.
        """
        tolerance = check_tolerance(tolerance_mm)
        truth, pred = (ratio(side.size_within(tolerance), side.size) for side in self._directions)
        return self._pair(truth, pred, both_empty, one_empty)

    def average(self, *, both_empty: float | None = None, one_empty: float | None = None) -> tuple[float, float]:
        """Mean distance from the truth's surface to the prediction's, and the reverse, in mm, weighted by size.

        Args:
            both_empty, one_empty: both numbers where both masks, or one of them, are empty. None: the mean over an
                empty surface is NaN, that over the other inf.
        """
        return self._pair(self.truth_to_pred.mean_mm, self.pred_to_truth.mean_mm, both_empty, one_empty)

    def assd(self, combine: Combine = "pooled", *, both_empty: float = math.nan, one_empty: float = math.inf) -> float:
        """Average symmetric surface distance in mm.

        Args:
            combine: "pooled": mean over both surfaces together, weighted by size; "mean" or "max" of the two directed
                means; "truth_to_pred" or "pred_to_truth": one of them.
            both_empty, one_empty: the answer where both masks, or one of them, have no voxel.
        Raises: ValueRangeError: an unknown `combine`.
        """
        _check_choice("combine", combine, COMBINE)
        truth, pred = self._directions
        if combine == "pooled":
            value = ratio(truth.total_mm + pred.total_mm, truth.size + pred.size)
        else:
            value = _combined(truth.mean_mm, pred.mean_mm, combine)
        return unless_empty(value, self.confusion, both_empty, one_empty)

    def hausdorff(
        self,
        percentile: float = 100.0,
        combine: Combine = "max",
        *,
        interpolation: Interpolation | None = None,
        both_empty: float = math.inf,
        one_empty: float = math.inf,
    ) -> float:
        """Hausdorff distance in mm, or a percentile of the distances.

        Args:
            percentile: 0..100.
            combine: "max" or "mean" of the two directed percentiles; "pooled": percentile over both surfaces together;
                "truth_to_pred" or "pred_to_truth": one of them.
            interpolation: "none": the smallest distance that covers `percentile` percent of the surface's size;
                "linear": NumPy's percentile of the elements, for voxels alone. None: "none" for surfels, "linear" for
                voxels.
            both_empty, one_empty: the answer where both masks, or one of them, have no voxel.
        Raises: ValueRangeError: a percentile outside 0..100, an unknown `combine` or `interpolation`.
        """
        percent = _as_percentile(percentile)
        _check_choice("combine", combine, COMBINE)
        way: Interpolation = interpolation or ("linear" if self.surface == "voxels" else "none")
        _check_choice("interpolation", way, INTERPOLATION)
        if way == "linear" and self.surface != "voxels":
            expected = '"none" for surfels, whose sizes differ'
            raise ValueRangeError(describe("interpolation", repr(way), expected, 'measure with surface="voxels"'))
        if combine == "pooled":
            value = self._pooled.percentile_mm(percent, way)
        else:
            truth, pred = (side.percentile_mm(percent, way) for side in self._directions)
            value = _combined(truth, pred, combine)
        return unless_empty(value, self.confusion, both_empty, one_empty)

    @property
    def _directions(self) -> tuple[DirectedDistances, DirectedDistances]:
        return self.truth_to_pred, self.pred_to_truth

    @cached_property
    def _pooled(self) -> DirectedDistances:
        names = ("distance_mm", "element", "count")
        both = [np.concatenate([getattr(side, name) for side in self._directions]) for name in names]
        order = np.lexsort((both[1], both[0]))
        return DirectedDistances(*(values[order] for values in both))

    def _pair(
        self, truth: float, pred: float, both_empty: float | None, one_empty: float | None
    ) -> tuple[float, float]:
        return (
            unless_empty(truth, self.confusion, both_empty, one_empty),
            unless_empty(pred, self.confusion, both_empty, one_empty),
        )


def surface_distances(
    truth: Any,
    pred: Any,
    spacing_mm: Sequence[float] | None = None,
    *,
    surface: Surface = "surfels",
    device: str = "auto",
    threads: int | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of two masks; what lies outside the grid is background.

    Args:
        truth, pred: (D, H, W) or (H, W) masks of one shape, bool or numbers 0 and 1, with any strides: NumPy arrays,
            whatever speaks DLPack, device arrays, SimpleITK or nibabel images, `Segmentation`. Either may be empty. An
            array beside an image has its axes in the image's order.
        spacing_mm: voxel size along each axis, in the order of the axes; not needed where an image brings it.
        surface: "surfels": the corners between voxels that touch both the mask and its outside, each with the area of
            the marching-cubes surface there. "voxels": the mask's voxels that touch the outside by a face, each
            counting once.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use. The result does not depend on it.
    Returns: SurfaceDistances, distances in mm.
    Raises: ShapeError, DTypeError, ValueRangeError; GeometryError: images on different grids, or with sheared axes;
        DeviceError.
    Source: Nikolov et al. 2018, arXiv:1809.04430; Lorensen and Cline 1987, SIGGRAPH 21:163 (marching cubes).
    """
    _check_choice("surface", surface, SURFACES)
    found = measure_masks(truth, pred, spacing_mm, surface, device, threads)
    return from_measure(found.measure, found.pair.spacing_mm, surface)


def from_measure(measure: Any, spacing_mm: tuple[float, ...], surface: Surface) -> SurfaceDistances:
    """`SurfaceDistances` of one label's native measure."""
    truth, pred = (DirectedDistances(*measure[side]) for side in (4, 5))
    return SurfaceDistances(truth, pred, Confusion(*measure[:4]), spacing_mm, surface)


def _combined(truth: float, pred: float, combine: Combine) -> float:
    if combine == "truth_to_pred":
        return truth
    if combine == "pred_to_truth":
        return pred
    return max(truth, pred) if combine == "max" else (truth + pred) / 2


def _as_percentile(percentile: Any) -> float:
    is_number = isinstance(percentile, (int, float, np.integer, np.floating)) and not isinstance(percentile, bool)
    if not is_number or not 0 <= percentile <= 100:
        raise ValueRangeError(describe("percentile", repr(percentile), "a number from 0 to 100"))
    return float(percentile)


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueRangeError(describe(name, repr(value), f"one of {', '.join(map(repr, choices))}"))
