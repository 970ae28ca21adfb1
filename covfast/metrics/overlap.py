"""Overlap of two masks: the confusion counts and every ratio of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from covfast.errors import ValueRangeError, describe
from covfast.metrics.inputs import measure_masks


@dataclass(frozen=True)
class Confusion:
    """Voxels of a truth and a prediction. Every ratio is NaN where it is 0/0.

    Attributes:
        true_positives, false_positives, false_negatives, true_negatives: voxels in both, in the prediction alone, in
            the truth alone, in neither.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def truth(self) -> int:
        """Voxels of the truth: TP + FN."""
        return self.true_positives + self.false_negatives

    @property
    def prediction(self) -> int:
        """Voxels of the prediction: TP + FP."""
        return self.true_positives + self.false_positives

    @property
    def voxels(self) -> int:
        """Voxels of the grid."""
        return self.truth + self.false_positives + self.true_negatives

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)``, which is also F1."""
        return ratio(2 * self.true_positives, self.truth + self.prediction)

    @property
    def iou(self) -> float:
        """``TP / (TP + FP + FN)``: the Jaccard index."""
        return ratio(self.true_positives, self.truth + self.false_positives)

    @property
    def sensitivity(self) -> float:
        """``TP / (TP + FN)``: recall."""
        return ratio(self.true_positives, self.truth)

    @property
    def specificity(self) -> float:
        """``TN / (TN + FP)``."""
        return ratio(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``."""
        return ratio(self.true_positives, self.prediction)

    @property
    def accuracy(self) -> float:
        """``(TP + TN) / all``."""
        return ratio(self.true_positives + self.true_negatives, self.voxels)

    @property
    def mcc(self) -> float:
        """``(TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))``: Matthews' correlation, -1 to 1.

        Source: Matthews 1975, Biochim. Biophys. Acta 405:442.
        """
        tp, fp, fn, tn = self.true_positives, self.false_positives, self.false_negatives, self.true_negatives
        # Whole numbers of Python: the product of four counts exceeds 64 bits.
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(product) if product else math.nan


def ratio(part: float, whole: float) -> float:
    """``part / whole``; NaN for 0/0."""
    return part / whole if whole else math.nan


def confusion(truth: Any, pred: Any, *, device: str = "auto", threads: int | None = None) -> Confusion:
    """Confusion counts of two masks.

    Args:
        truth, pred: (D, H, W) or (H, W) masks of one shape, as for `surface_distances`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None for all that the process may use.
    Raises: ShapeError, DTypeError, ValueRangeError, GeometryError as `surface_distances`.
    """
    return Confusion(*measure_masks(truth, pred, None, "none", device, threads).measure[:4])


def dice(
    truth: Any,
    pred: Any,
    *,
    both_empty: float = math.nan,
    one_empty: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
) -> float:
    """Dice coefficient ``2 |T and P| / (|T| + |P|)`` of two masks.

    Args:
        truth, pred: (D, H, W) or (H, W) masks of one shape, as for `surface_distances`.
        both_empty, one_empty: the answer where both masks, or one of them, have no voxel.
        device, threads: as for `confusion`.
    Raises: ShapeError, DTypeError, ValueRangeError, GeometryError as `surface_distances`.
    Source: Dice 1945, Ecology 26:297.
    """
    counts = confusion(truth, pred, device=device, threads=threads)
    return unless_empty(counts.dice, counts, both_empty, one_empty)


def iou(
    truth: Any,
    pred: Any,
    *,
    both_empty: float = math.nan,
    one_empty: float = 0.0,
    device: str = "auto",
    threads: int | None = None,
) -> float:
    """Intersection over union ``|T and P| / |T or P|`` of two masks, the Jaccard index; arguments as for `dice`."""
    counts = confusion(truth, pred, device=device, threads=threads)
    return unless_empty(counts.iou, counts, both_empty, one_empty)


def unless_empty(value: float, counts: Confusion, both_empty: float | None, one_empty: float | None) -> float:
    """`value`, or the answer for masks of which both or one are empty, where one is given. Raises: ValueRangeError."""
    both, one = (
        None if given is None else check_number(name, given)
        for name, given in (("both_empty", both_empty), ("one_empty", one_empty))
    )
    if counts.truth and counts.prediction:
        return value
    instead = one if counts.truth or counts.prediction else both
    return value if instead is None else instead


def check_number(name: str, value: Any) -> float:
    """The value as a float, NaN and inf too. Raises: ValueRangeError: no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueRangeError(describe(name, repr(value), "a number"))
    return float(value)
