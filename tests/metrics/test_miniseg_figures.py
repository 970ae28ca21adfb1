"""MiniSeg's figures: against what its script calls in SimpleITK and OpenCV, distances pair by pair, images by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

from covfast.errors import ShapeError
from covfast.metrics import miniseg

Mask = npt.NDArray[np.bool_]


def mask_pairs() -> Iterator[tuple[Mask, Mask]]:
    """Random pairs, sparse to full, of many extents; and pairs that nest, touch the border or lie far apart."""
    for seed in range(80):
        generator = np.random.default_rng(seed)
        shape = tuple(int(n) for n in generator.integers(1, 24, 2 if seed % 4 else 3))
        share = generator.choice([0.02, 0.2, 0.6, 0.97], 2)
        yield generator.random(shape) < share[0], generator.random(shape) < share[1]
    grid = np.hypot(*np.mgrid[-20:21, -20:21])
    for inner, outer in ((8, 12), (0, 19), (12, 20.5)):
        yield grid <= inner, (grid >= outer) & (grid <= outer + 1)
        yield grid <= inner, grid <= outer
        yield grid <= outer, np.roll(grid <= inner, 5, axis=1)
    corner = np.zeros((9, 30), np.bool_)
    corner[0, 0] = True
    yield corner, corner[::-1, ::-1]
    yield corner, np.ones_like(corner)
    yield np.ones_like(corner), np.ones_like(corner)


PAIRS = [(t, p) for t, p in mask_pairs() if t.any() and p.any()]


def brute_hausdorff(truth: Mask, prediction: Mask) -> float:
    """Every foreground voxel against every other."""
    a, b = (np.argwhere(mask).astype(np.float64) for mask in (truth, prediction))
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    return float(np.sqrt(max(squares.min(axis=1).max(), squares.min(axis=0).max())))


def published(truth: Mask, prediction: Mask) -> tuple[float, float, float, float]:
    """SEN, SPC, DSC, HD as evaluate.py has them: filters called with (prediction, truth) at spacing 1."""
    first, second = (SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, truth))
    overlap, distance = SimpleITK.LabelOverlapMeasuresImageFilter(), SimpleITK.HausdorffDistanceImageFilter()
    overlap.Execute(first, second)
    distance.Execute(first, second)
    tn, fp = np.sum(~(prediction | truth)), np.sum(prediction) - np.sum(prediction & truth)
    specificity = tn / (tn + fp) if tn + fp else np.nan
    sensitivity = 1 - overlap.GetFalseNegativeError()
    return sensitivity, float(specificity), overlap.GetDiceCoefficient(), distance.GetHausdorffDistance()


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_foreground_hausdorff_is_exact(number: int) -> None:
    truth, prediction = PAIRS[number]
    found = miniseg.foreground_hausdorff(truth, prediction)
    assert found == pytest.approx(brute_hausdorff(truth, prediction), abs=1e-12)
    assert found == miniseg.foreground_hausdorff(prediction, truth)


@pytest.mark.parametrize("number", [n for n, pair in enumerate(PAIRS) if pair[0].ndim == 2])
def test_figures_of_an_image_match_the_published_script(number: int) -> None:
    truth, prediction = PAIRS[number]
    found = miniseg.figures(truth, prediction)
    values = (found.sensitivity, found.specificity, found.dice, found.hausdorff_px)
    assert values == pytest.approx(published(truth, prediction), abs=1e-12, nan_ok=True)


def test_farthest_voxel_may_lie_inside() -> None:
    radius = np.hypot(*np.mgrid[-20:21, -20:21])
    disk, ring = radius <= 8, (radius >= 15) & (radius <= 17)
    assert miniseg.foreground_hausdorff(disk, ring) == 15  # from the disk's centre; its rim is nearer to the ring
    band, wider = np.zeros((2, 20, 9), np.bool_)
    band[8:12], wider[5:13] = True, True
    assert miniseg.foreground_hausdorff(band, wider) == 3  # nested: only what the wider one has more counts


def test_empty_prediction_scores_zero_everywhere() -> None:
    truth = np.eye(5, dtype=np.bool_)
    empty = np.zeros((5, 5), np.bool_)
    for mask in (truth, empty):
        found = miniseg.figures(mask, empty)
        assert (found.sensitivity, found.specificity, found.dice, found.hausdorff_px) == (0, 0, 0, 0)
    assert miniseg.figures(truth, empty).confusion == (0, 0, 5, 20)


def test_empty_truth_alone_has_no_sensitivity_and_no_distance() -> None:
    prediction = np.eye(5, dtype=np.bool_)
    found = miniseg.figures(np.zeros((5, 5), np.bool_), prediction)
    assert np.isnan([found.sensitivity, found.hausdorff_px]).all()
    assert (found.specificity, found.dice) == (0.8, 0)


def test_full_truth_has_no_specificity() -> None:
    full = np.ones((3, 3), np.bool_)
    found = miniseg.figures(full, full)
    assert np.isnan(found.specificity)
    assert (found.sensitivity, found.dice, found.hausdorff_px) == (1, 1, 0)


def test_mean_iou_is_that_of_the_summed_confusion() -> None:
    images = [pair for pair in PAIRS if pair[0].ndim == 2]
    whole = miniseg.pooled([miniseg.figures(t, p) for t, p in images])
    counts = np.zeros((2, 2))
    for truth, prediction in images:
        codes = 2 * truth.astype(int).ravel() + prediction.ravel()
        counts += np.bincount(codes, minlength=4).reshape(2, 2)
    diagonal = np.diag(counts)
    ious = diagonal / (counts.sum(axis=1) + counts.sum(axis=0) - diagonal + 1e-8)
    assert whole.mean_iou() == pytest.approx(ious.mean(), abs=1e-15)
    assert whole.images == len(images)


def test_mean_iou_of_two_images_by_hand() -> None:
    first = miniseg.figures(np.array([[True, False]]), np.array([[True, True]]))
    second = miniseg.figures(np.array([[True, False]]), np.array([[False, False]]))
    whole = miniseg.pooled([first, second])
    # TP 1, FP 1, FN 1, TN 1: both classes 1/3. Not the mean of the images' figures.
    assert whole.mean_iou() == pytest.approx(1 / 3, abs=1e-8)
    assert (whole.sensitivity, whole.dice, whole.hausdorff_px) == (0.5, pytest.approx(1 / 3), 0.5)


def test_volume_is_the_mean_over_its_slices_with_truth() -> None:
    generator = np.random.default_rng(0)
    truth, prediction = generator.random((2, 6, 9, 9)) < 0.3
    truth[[0, 4]] = False
    prediction[2] = False
    whole = miniseg.figures(truth, prediction)
    single = [miniseg.figures(truth[d], prediction[d]) for d in (1, 2, 3, 5)]
    assert whole.images == 4
    assert whole == miniseg.pooled(single)
    assert whole.dice == pytest.approx(np.mean([one.dice for one in single]))
    assert whole.confusion == tuple(np.sum([one.confusion for one in single], axis=0))


def test_pooling_weighs_cases_by_their_images() -> None:
    images = [pair for pair in PAIRS if pair[0].ndim == 2][:5]
    single = [miniseg.figures(t, p) for t, p in images]
    parts = miniseg.pooled([miniseg.pooled(single[:4]), single[4]])
    whole = miniseg.pooled(single)
    assert parts.mean_iou() == whole.mean_iou()
    for name in ("sensitivity", "specificity", "dice", "hausdorff_px"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), abs=1e-12)
    assert whole.hausdorff_px == pytest.approx(np.mean([one.hausdorff_px for one in single]))


def test_volume_without_truth_has_no_images_and_no_weight() -> None:
    nothing = miniseg.figures(np.zeros((2, 4, 4), np.bool_), np.ones((2, 4, 4), np.bool_))
    assert nothing.images == 0
    assert np.isnan(nothing.dice)
    one = miniseg.figures(np.eye(4, dtype=np.bool_), np.eye(4, dtype=np.bool_))
    assert miniseg.pooled([nothing, one]) == one


def test_laws_of_shift_and_transposition() -> None:
    for truth, prediction in PAIRS[:40]:
        plain = miniseg.foreground_hausdorff(truth, prediction)
        assert miniseg.foreground_hausdorff(truth.T, prediction.T) == plain
        wide = [np.pad(mask, 3) for mask in (truth, prediction)]
        assert miniseg.foreground_hausdorff(*wide) == plain
        assert miniseg.foreground_hausdorff(np.asfortranarray(truth), prediction[...]) == plain


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (512, 512), (630, 401), (13, 1000)])
def test_nearest_takes_the_pixels_that_opencv_takes(shape: tuple[int, int]) -> None:
    cv2: Any = pytest.importorskip("cv2", reason="OpenCV is not installed: the peer of this test")
    for size in ((1, 1), (3, 4), (512, 512), (630, 630), (225, 310)):
        image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        expected = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(miniseg.nearest(image, shape), expected)


def test_nearest_of_three_axes_is_refused() -> None:
    with pytest.raises(ShapeError, match="image"):
        miniseg.nearest(np.zeros((2, 3, 4)), (3, 3))
