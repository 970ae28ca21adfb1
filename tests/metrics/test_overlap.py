"""Confusion counts and their ratios: laws, values by hand, empty masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from covfast.errors import ShapeError, ValueRangeError
from covfast.metrics import Confusion, confusion, dice, iou

RATIOS = ("dice", "iou", "sensitivity", "specificity", "precision", "accuracy", "mcc")


def masks(seed: int, shape: tuple[int, ...] = (9, 33, 70)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.3, rng.random(shape) < 0.6


@pytest.mark.parametrize("shape", [(9, 33, 70), (33, 70), (1, 1), (1, 1, 1), (2, 3, 129)])
def test_counts_are_numpys(shape: tuple[int, ...]) -> None:
    truth, pred = masks(0, shape)
    expected = [(truth & pred).sum(), (pred & ~truth).sum(), (truth & ~pred).sum(), (~truth & ~pred).sum()]
    counts = confusion(truth, pred)
    assert list(vars(counts).values()) == [int(n) for n in expected]
    assert counts.voxels == truth.size
    assert (counts.truth, counts.prediction) == (truth.sum(), pred.sum())


def test_swapping_the_masks_swaps_sensitivity_and_precision() -> None:
    truth, pred = masks(1)
    one, other = confusion(truth, pred), confusion(pred, truth)
    assert (one.sensitivity, one.precision) == (other.precision, other.sensitivity)
    assert (one.dice, one.iou, one.mcc, one.accuracy) == (other.dice, other.iou, other.mcc, other.accuracy)


def test_ratios_match_their_formulas() -> None:
    counts = Confusion(30, 10, 20, 140)
    assert counts.dice == 60 / 90
    assert counts.iou == 30 / 60
    assert counts.sensitivity == 30 / 50
    assert counts.specificity == 140 / 150
    assert counts.precision == 30 / 40
    assert counts.accuracy == 170 / 200
    assert counts.mcc == pytest.approx((30 * 140 - 10 * 20) / math.sqrt(40 * 50 * 150 * 160), rel=1e-15)


def test_dice_and_iou_tell_each_other() -> None:
    truth, pred = masks(2)
    share = iou(truth, pred)
    assert dice(truth, pred) == pytest.approx(2 * share / (1 + share), rel=1e-15)
    counts = confusion(truth, pred)
    harmonic = 2 * counts.precision * counts.sensitivity / (counts.precision + counts.sensitivity)
    assert counts.dice == pytest.approx(harmonic, rel=1e-15)


def test_mcc_does_not_overflow_and_has_its_signs() -> None:
    half = 5 * 10**8
    assert Confusion(half, 0, 0, half).mcc == 1
    assert Confusion(0, half, half, 0).mcc == -1
    assert Confusion(half, half, half, half).mcc == 0


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        (Confusion(0, 0, 0, 9), {"dice", "iou", "sensitivity", "precision", "mcc"}),
        (Confusion(0, 0, 4, 5), {"precision", "mcc"}),
        (Confusion(0, 4, 0, 5), {"sensitivity", "mcc"}),
        (Confusion(9, 0, 0, 0), {"specificity", "mcc"}),
        (Confusion(4, 0, 0, 5), set()),
    ],
)
def test_ratios_of_nothing_are_nan(counts: Confusion, undefined: set[str]) -> None:
    assert {name for name in RATIOS if math.isnan(getattr(counts, name))} == undefined


def test_answers_for_empty_masks_can_be_chosen() -> None:
    nothing, some = np.zeros((4, 5), np.bool_), np.ones((4, 5), np.bool_)
    assert math.isnan(dice(nothing, nothing))
    assert math.isnan(iou(nothing, nothing))
    assert dice(nothing, nothing, both_empty=1) == iou(nothing, nothing, both_empty=1) == 1
    assert dice(nothing, some) == dice(some, nothing) == iou(some, nothing) == 0
    assert math.isnan(dice(nothing, some, one_empty=math.nan))  # MONAI's answer for an empty truth
    assert dice(some, some, both_empty=3, one_empty=4) == 1
    for wrong in ("x", True, [1]):
        with pytest.raises(ValueRangeError, match=r"both_empty: got .*, expected a number"):
            dice(some, some, both_empty=wrong)  # type: ignore[arg-type]


def test_wrong_masks_are_refused() -> None:
    mask = np.ones((4, 5, 6), np.bool_)
    with pytest.raises(ShapeError, match="pred: got shape"):
        dice(mask, mask[1:])
    with pytest.raises(ValueRangeError, match=r"truth: got values from 1 to 3, expected a mask.*pass truth == label"):
        dice(np.where(np.arange(6) > 2, 3, 1) * mask.astype(np.uint8), mask)
    image = np.where(np.arange(6) > 2, 255, 0) * mask.astype(np.uint8)
    with pytest.raises(ValueRangeError, match=r"truth: got values from 0 to 255, .*; pass truth > 0"):
        dice(image, mask)
    image[0, 0, 0] = 7
    with pytest.raises(ValueRangeError, match=r"pred: got values from 0 to 255, .*; pass pred == label"):
        dice(mask, image)
