"""Figures of probability maps: against the plain formulas, laws, images small enough to count by hand, bad input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from reference import saliency as reference

from covfast.errors import DTypeError, ShapeError, ValueRangeError
from covfast.metrics import saliency as subject

Array = npt.NDArray[Any]

SHAPES = [(1, 2), (2, 1), (1, 9), (7, 1), (2, 2), (5, 8), (16, 16), (13, 31)]
TOLERANCE = 1e-12
"""Figures are sums of at most a few thousand float64 terms, in another order than the reference's."""


def blob(shape: tuple[int, ...], seed: int) -> Array:
    """A mask that is neither empty nor full."""
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < generator.uniform(0.1, 0.9)
    mask.flat[0], mask.flat[-1] = bool(seed % 2), not seed % 2
    return mask


def image_of(shape: tuple[int, ...], seed: int, kind: str) -> Array:
    generator = np.random.default_rng(seed + 1000)
    if kind == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if kind == "few levels":
        return np.asarray(generator.integers(0, 4, shape) / 3)
    return np.asarray(generator.random(shape), kind)


# -- against the plain formulas


@pytest.mark.parametrize("kind", ["float64", "float32", "uint8", "few levels"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_figures_of_random_maps_match_the_reference(shape: tuple[int, ...], kind: str) -> None:
    for seed in range(4):
        truth, given = blob(shape, seed), image_of(shape, seed, kind)
        image = given / 255 if kind == "uint8" else given.astype(np.float64)
        curves = subject.threshold_curves(truth, given)
        for index, threshold in enumerate(reference.thresholds()):
            for name, value in reference.scores(truth, image, threshold).items():
                assert getattr(curves, name)[index] == pytest.approx(value, abs=TOLERANCE, nan_ok=True)
            e = reference.e_measure(truth, image >= threshold)
            assert curves.e_measure[index] == pytest.approx(e, abs=TOLERANCE)
        assert subject.s_measure(truth, given) == pytest.approx(reference.s_measure(truth, image), abs=TOLERANCE)
        mae = reference.mean_absolute_error(truth, image)
        assert subject.mean_absolute_error(truth, given) == pytest.approx(mae, abs=TOLERANCE)
        e = reference.e_measure(truth, image >= 0.5)
        assert subject.e_measure(truth, image >= 0.5) == pytest.approx(e, abs=TOLERANCE)


def test_thresholds_are_those_of_matlabs_colon() -> None:
    assert subject.THRESHOLDS.tolist() == reference.thresholds()
    assert (subject.THRESHOLDS[0], subject.THRESHOLDS[255]) == (1, 0)


def test_saliency_measures_the_stretched_map() -> None:
    truth, given = blob((12, 17), 3), image_of((12, 17), 3, "float64") * 0.5 + 0.2
    image = (given - given.min()) / (given.max() - given.min())
    found = subject.saliency(truth, given)
    assert found.mae == pytest.approx(reference.mean_absolute_error(truth, image), abs=TOLERANCE)
    assert found.s_measure == pytest.approx(reference.s_measure(truth, image), abs=TOLERANCE)
    curves = subject.threshold_curves(truth, image)
    for name in subject.CURVES:
        np.testing.assert_array_equal(getattr(found.curves, name), getattr(curves, name))
    own = reference.scores(truth, image, min(1.0, 2 * image.mean()))
    assert found.adaptive == pytest.approx(own, abs=TOLERANCE)


def test_adaptive_threshold_is_at_most_one() -> None:
    truth, image = blob((12, 17), 4), np.maximum(image_of((12, 17), 4, "few levels"), 2 / 3)
    image.flat[0] = 0.0
    assert 2 * image.mean() > 1
    assert subject.saliency(truth, image).adaptive == pytest.approx(reference.scores(truth, image, 1.0))
    assert subject.saliency(truth, image).adaptive["dice"] > 0


# -- by hand


def test_curves_of_four_pixels_by_hand() -> None:
    truth = np.array([[True, True], [False, False]])
    curves = subject.threshold_curves(truth, np.array([[1.0, 0.5], [0.7, 0.0]]))
    # t = 1: only the first pixel. t in (0.7, 1): the same. t in (0.5, 0.7]: one false positive. then all but the last.
    assert curves.dice[0] == pytest.approx(2 / 3)
    assert curves.dice[100] == pytest.approx(2 / 4)  # t = 0.608
    assert curves.dice[200] == pytest.approx(4 / 5)  # t = 0.216
    assert curves.dice[255] == pytest.approx(4 / 6)  # t = 0 takes every pixel
    assert [curves.specificity[i] for i in (0, 100, 255)] == [1, 0.5, 0]
    assert [curves.sensitivity[i] for i in (0, 200)] == [0.5, 1]
    assert [curves.precision[i] for i in (0, 100, 255)] == [1, 0.5, 0.5]


def test_every_ratio_is_zero_without_a_true_positive() -> None:
    truth = np.zeros((4, 4), np.bool_)
    truth[0, 0] = True
    image = np.ones((4, 4))
    image[0, 0] = 0.0
    curves = subject.threshold_curves(truth, image)
    for name in ("dice", "sensitivity", "specificity", "precision"):
        assert not getattr(curves, name)[:255].any()
    assert (curves.sensitivity[255], curves.specificity[255]) == (1, 0)


def test_perfect_map_scores_one() -> None:
    truth = blob((9, 11), 5)
    found = subject.saliency(truth, truth.astype(np.float64))
    assert found.mae == 0
    assert found.s_measure == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.curves.dice[:255], 1)
    # The denominator is N - 1, so the E-measure of a perfect map exceeds 1.
    np.testing.assert_allclose(found.curves.e_measure[:255], 99 / 98)


def test_e_measure_of_four_pixels_by_hand() -> None:
    truth = np.array([[True, False], [False, False]])
    predicted = np.array([[True, True], [False, False]])
    # a is +-1/2, b is 3/4 or -1/4. (A + 1)^2 / 4: TP A = .75/.8125, FP -.25/.3125, twice TN .25/.3125
    values = [((2 * a * b / (a * a + b * b)) + 1) ** 2 / 4 for a, b in ((0.5, 0.75), (0.5, -0.25), (-0.5, -0.25))]
    assert subject.e_measure(truth, predicted) == pytest.approx((values[0] + values[1] + 2 * values[2]) / 3)


def test_s_measure_of_a_diagonal_by_hand() -> None:
    # Centroid (1.5, 1.5) rounds to (2, 2): one block holds all, the three others hold no pixel.
    truth = np.eye(2, dtype=np.bool_)
    image = np.array([[1.0, 0.0], [0.5, 0.5]])
    fg, bg = 0.75, 0.75
    deviation = np.sqrt(2 * 0.25**2)
    objects = 2 * fg / (fg**2 + 1 + deviation) * 0.5 + 2 * bg / (bg**2 + 1 + deviation) * 0.5
    x = y = 0.5
    sxy, sx2, sy2 = 0.25 / 3 + 0.25 / 3, 0.5 / 3, 1 / 3
    region = 4 * x * y * sxy / ((x**2 + y**2) * (sx2 + sy2))
    assert subject.s_measure(truth, image) == pytest.approx(0.5 * objects + 0.5 * region, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_empty_and_full_truth_follow_their_own_rules(value: float) -> None:
    image = np.full((5, 4), value)
    empty, full = np.zeros((5, 4), np.bool_), np.ones((5, 4), np.bool_)
    assert subject.s_measure(empty, image) == pytest.approx(1 - value)
    assert subject.s_measure(full, image) == pytest.approx(value)
    black, white = subject.threshold_curves(empty, image), subject.threshold_curves(full, image)
    predicted = value >= subject.THRESHOLDS
    np.testing.assert_allclose(black.e_measure, np.where(predicted, 0, 20 / 19))
    np.testing.assert_allclose(white.e_measure, np.where(predicted, 20 / 19, 0))
    assert not black.dice.any()
    assert not black.specificity.any()
    np.testing.assert_array_equal(np.isnan(white.specificity), predicted)  # no negatives: 0/0


def test_constant_map_is_not_stretched() -> None:
    truth = blob((6, 6), 1)
    assert subject.saliency(truth, np.full((6, 6), 0.25)).mae == pytest.approx(
        reference.mean_absolute_error(truth, np.full((6, 6), 0.25))
    )


def test_flat_block_has_no_variance_whatever_its_value() -> None:
    # Cut at (6, 6): the upper left block is flat in truth and map, similarity 1; the others in the map alone, 0.
    truth = np.zeros((30, 30), np.bool_)
    truth[:10, :10] = True
    for level in (0.5, 0.1, 0.3, 0.7):
        image = np.full((30, 30), level)
        expected = 0.5 * reference.object_part(truth, image) + 0.5 * 36 / 900
        assert subject.s_measure(truth, image) == pytest.approx(expected, abs=1e-12)


def test_one_pixel_divides_by_eps_as_published() -> None:
    one = np.ones((1, 1), np.bool_)
    assert subject.e_measure(one, one) == 1 / subject.EPS
    assert subject.e_measure(one, ~one) == 0
    assert subject.s_measure(one, np.array([[0.25]])) == 0.25


def test_centroid_on_the_last_row_leaves_empty_blocks_out() -> None:
    truth = np.zeros((4, 6), np.bool_)
    truth[3, 1:4] = True
    image = image_of((4, 6), 2, "float64")
    value = subject.s_measure(truth, image)
    assert np.isfinite(value)
    assert value == pytest.approx(reference.s_measure(truth, image), abs=TOLERANCE)


# -- laws


def test_complement_of_both_keeps_mae_and_swaps_the_extremes() -> None:
    truth, image = blob((9, 9), 7), image_of((9, 9), 7, "float64")
    same = subject.mean_absolute_error(~truth, 1 - image)
    assert subject.mean_absolute_error(truth, image) == pytest.approx(same, abs=1e-15)
    assert subject.e_measure(truth, image > 0.5) == pytest.approx(subject.e_measure(~truth, image <= 0.5), abs=1e-12)


def test_curves_do_not_depend_on_the_order_of_pixels() -> None:
    truth, image = blob((10, 14), 8), image_of((10, 14), 8, "float64")
    order = np.random.default_rng(0).permutation(truth.size)
    shuffled = subject.threshold_curves(truth.ravel()[order].reshape(14, 10), image.ravel()[order].reshape(14, 10))
    plain = subject.threshold_curves(truth, image)
    for name in subject.CURVES:
        np.testing.assert_array_equal(getattr(plain, name), getattr(shuffled, name))


def test_stretching_a_map_changes_nothing() -> None:
    truth = blob((10, 14), 9)
    image = np.random.default_rng(9).integers(0, 65, truth.shape) / 64  # exact under the stretch
    first, second = subject.saliency(truth, image), subject.saliency(truth, image * 0.25 + 0.5)
    assert first.to_dict() == second.to_dict()


@pytest.mark.parametrize("order", ["F", "C"])
def test_memory_layout_and_number_types_change_nothing(order: Any) -> None:
    truth, image = blob((10, 14), 10), image_of((10, 14), 10, "float32")
    expected = subject.saliency(truth, image).to_dict()
    wide = np.zeros((20, 28), np.float64)
    wide[::2, ::2] = image
    for other_truth in (truth, truth.astype(np.uint8), truth.astype(np.float64)):
        other = np.asarray(other_truth, order=order)
        assert subject.saliency(other, np.asarray(image, order=order)).to_dict() == expected
        assert subject.saliency(other, wide[::2, ::2]).to_dict() == expected


def test_volume_is_the_mean_over_its_images() -> None:
    truth = np.stack([blob((8, 9), seed) for seed in range(3)])
    image = image_of((3, 8, 9), 11, "float64")
    single = [subject.saliency(t, p) for t, p in zip(truth, image, strict=True)]
    whole = subject.saliency(truth, image)
    assert whole.images == whole.curves.images == 3
    assert whole.mae == pytest.approx(np.mean([one.mae for one in single]))
    assert whole.s_measure == pytest.approx(np.mean([one.s_measure for one in single]))
    np.testing.assert_allclose(whole.curves.dice, np.mean([one.curves.dice for one in single], axis=0))
    curves = subject.threshold_curves(truth, image)
    np.testing.assert_allclose(
        curves.dice, np.mean([subject.threshold_curves(t, p).dice for t, p in zip(truth, image, strict=True)], axis=0)
    )
    assert subject.s_measure(truth, image) == pytest.approx(
        np.mean([reference.s_measure(t, p) for t, p in zip(truth, image, strict=True)])
    )
    # Pooling cases weights each by its images.
    again = subject.pooled([subject.saliency(truth[:2], image[:2]), single[2]])
    assert again.mae == pytest.approx(whole.mae)
    np.testing.assert_allclose(again.curves.e_measure, whole.curves.e_measure)
    assert again.adaptive == pytest.approx(whole.adaptive)


def test_inputs_are_not_changed() -> None:
    truth, image = blob((8, 9), 1), image_of((8, 9), 1, "uint8")
    copies = truth.copy(), image.copy()
    subject.saliency(truth, image)
    np.testing.assert_array_equal(truth, copies[0])
    np.testing.assert_array_equal(image, copies[1])


def test_dict_is_ready_for_json() -> None:
    found = subject.saliency(blob((8, 9), 1), image_of((8, 9), 1, "uint8")).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert len(found["curves"]["threshold"]) == len(found["curves"]["dice"]) == 256
    assert found["mean"]["dice"] == pytest.approx(np.mean(found["curves"]["dice"]))
    assert found["max"]["dice"] == max(found["curves"]["dice"])


def test_map_of_another_size_is_resized_to_the_truth() -> None:
    truth = blob((20, 24), 2)
    truth[3:12, 5:20] = True
    image = image_of((10, 12), 2, "uint8")
    bigger = subject.imresize(image, (20, 24))
    assert bigger.dtype == np.uint8
    assert subject.saliency(truth, image).to_dict() == subject.saliency(truth, bigger).to_dict()
    assert subject.saliency(truth, image / 255.0).images == 1


def test_eight_bit_and_float_maps_of_another_size_differ_by_the_rounding_alone() -> None:
    truth = blob((20, 24), 2)
    ramp = np.add.outer(np.arange(10), np.arange(12)).astype(np.uint8) * 12
    eight_bit, exact = subject.saliency(truth, ramp), subject.saliency(truth, ramp / 255.0)
    assert eight_bit.mae == pytest.approx(exact.mae, abs=0.005)
    assert eight_bit.mae != exact.mae


# -- bad input


@pytest.mark.parametrize("bad", [np.nan, -0.01, 1.01, np.inf, -np.inf])
@pytest.mark.parametrize("function", ["saliency", "s_measure", "threshold_curves", "mean_absolute_error"])
def test_map_outside_zero_to_one_is_refused(function: str, bad: float) -> None:
    image = np.full((4, 4), 0.5)
    image[2, 1] = bad
    with pytest.raises(ValueRangeError, match=r"probability: got (NaN in 1 pixels|values in .*), expected values in"):
        getattr(subject, function)(np.eye(4, dtype=np.bool_), image)


@pytest.mark.parametrize("shape", [(4, 5), (4,), (1, 4, 4), ()])
def test_map_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="probability"):
        subject.threshold_curves(np.eye(4, dtype=np.bool_), np.zeros(shape))


def test_stack_of_another_depth_is_refused() -> None:
    with pytest.raises(ShapeError, match="probability"):
        subject.saliency(np.ones((3, 4, 4), np.bool_), np.zeros((2, 4, 4)))


@pytest.mark.parametrize("shape", [(4,), (0, 4), (1, 1, 4, 4)])
def test_truth_of_another_rank_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="truth"):
        subject.s_measure(np.ones(shape, np.bool_), np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.complex128])
def test_map_of_another_type_is_refused(dtype: Any) -> None:
    with pytest.raises(DTypeError, match="probability"):
        subject.s_measure(np.eye(4, dtype=np.bool_), np.zeros((4, 4), dtype))


@pytest.mark.parametrize("value", [2, 255, -1, 0.5, np.nan])
def test_truth_that_is_no_mask_is_refused(value: float) -> None:
    truth = np.zeros((4, 4))
    truth[1, 1] = value
    with pytest.raises(ValueRangeError, match=r"truth: .*expected bool"):
        subject.s_measure(truth, np.zeros((4, 4)))
