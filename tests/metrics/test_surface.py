"""surface_distances: laws first, then published values, then empty masks, near ties and errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast import metrics
from covfast.errors import ShapeError, ValueRangeError
from covfast.metrics import DirectedDistances, SurfaceDistances, surface_distances
from covfast.metrics.surface import INTERPOLATION

Mask = npt.NDArray[np.bool_]
NAN, INF = math.nan, math.inf


def blob(seed: int, shape: tuple[int, ...] = (13, 17, 21), fill: float = 0.3) -> Mask:
    """Ragged noise: all kinds of corners."""
    return np.asarray(np.random.default_rng(seed).random(shape) < fill)


def box(shape: tuple[int, ...], *slices: slice) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[slices] = True
    return mask


def ball(radius_mm: float, centre_mm: tuple[int, int, int], spacing: tuple[float, float, float] = (1, 1, 1)) -> Mask:
    """A ball in 99 x 99 x 99 voxels."""
    axes = np.ogrid[:99, :99, :99]
    squares = [(axis * step - c) ** 2 for axis, step, c in zip(axes, spacing, centre_mm, strict=True)]
    return np.asarray(squares[1] + squares[0] + squares[2] <= radius_mm**2)


def figures(d: SurfaceDistances) -> list[float]:
    """All that can be asked of two masks, truth's side before the prediction's."""
    ways = [(percent, combine) for percent in (100, 95, 50, 0) for combine in ("max", "pooled", "mean")]
    return [
        *(d.hausdorff(percent, combine) for percent, combine in ways),  # type: ignore[arg-type]
        *(d.nsd(tolerance) for tolerance in (0.0, 0.7, 1.0, 2.0)),
        *(d.assd(combine) for combine in ("pooled", "mean", "max")),  # type: ignore[arg-type]
        *d.average(),
        *d.overlap(1.0),
    ]


def same(one: SurfaceDistances, other: SurfaceDistances) -> None:
    np.testing.assert_allclose(figures(one), figures(other), rtol=1e-12)


# Laws


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_equal_masks_have_no_distance(surface: Any) -> None:
    d = surface_distances(blob(0), blob(0), (1.0, 0.7, 0.7), surface=surface)
    assert d.hausdorff() == 0
    assert d.assd() == 0
    assert d.average() == (0, 0)
    assert d.nsd(0) == 1
    assert d.overlap(0) == (1, 1)


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_swapping_the_masks_swaps_the_answers(surface: Any) -> None:
    spacing = (2.5, 0.8, 0.7)
    one = surface_distances(blob(1), blob(2, fill=0.1), spacing, surface=surface)
    other = surface_distances(blob(2, fill=0.1), blob(1), spacing, surface=surface)
    assert one.average() == other.average()[::-1]
    assert one.overlap(1.0) == other.overlap(1.0)[::-1]
    assert one.hausdorff(95, "truth_to_pred") == other.hausdorff(95, "pred_to_truth")
    for percent in (100, 95, 50):
        assert one.hausdorff(percent) == other.hausdorff(percent)
    assert one.nsd(1.0) == other.nsd(1.0)
    assert one.assd() == other.assd()


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_doubling_the_spacing_doubles_every_distance(surface: Any) -> None:
    one = surface_distances(blob(1), blob(2), (2.5, 0.8, 0.7), surface=surface)
    other = surface_distances(blob(1), blob(2), (5.0, 1.6, 1.4), surface=surface)
    for percent in (100, 95, 50):
        assert other.hausdorff(percent) == 2 * one.hausdorff(percent)
    assert other.assd() == pytest.approx(2 * one.assd(), rel=1e-12)
    assert other.nsd(2.0) == pytest.approx(one.nsd(1.0), rel=1e-12)


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
@pytest.mark.parametrize("shape", [(13, 17, 21), (29, 33)])
def test_padding_changes_nothing(shape: tuple[int, ...], surface: Any) -> None:
    truth, pred, spacing = blob(3, shape), blob(4, shape), (1.5, 0.8, 0.7)[: len(shape)]
    same(
        surface_distances(truth, pred, spacing, surface=surface),
        surface_distances(np.pad(truth, 5), np.pad(pred, 5), spacing, surface=surface),
    )


LAYOUTS: dict[str, Callable[[Mask], npt.NDArray[Any]]] = {
    "fortran": np.asfortranarray,
    "reversed": lambda mask: mask[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "strided": lambda mask: np.repeat(mask, 2, axis=2)[:, :, ::2],
    "offset": lambda mask: np.pad(mask, 3)[3:-3, 3:-3, 3:-3],
    "int64": lambda mask: mask.astype(np.int64),
    "uint8 of a record": lambda mask: _field_of_record(mask),
    "big-endian": lambda mask: mask.astype(">i2"),
    "float16": lambda mask: mask.astype(np.float16),
    "float64": lambda mask: mask.astype(np.float64),
    "read-only": lambda mask: np.broadcast_to(mask, mask.shape),
}


def _field_of_record(mask: Mask) -> npt.NDArray[Any]:
    record = np.zeros(mask.shape, np.dtype([("a", "u1"), ("m", "<i4")]))  # 5 bytes: the field is not aligned
    record["m"] = mask
    return record["m"]


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_layout_and_type_change_nothing(layout: str) -> None:
    truth, pred, spacing = blob(3), blob(4), (1.5, 0.8, 0.7)
    expected = surface_distances(truth, pred, spacing)
    same(expected, surface_distances(LAYOUTS[layout](truth), pred, spacing))
    same(expected, surface_distances(truth, LAYOUTS[layout](pred), spacing))


def test_inputs_are_not_changed() -> None:
    truth, pred = blob(3), blob(4)
    before = truth.copy(), pred.copy()
    surface_distances(truth, pred, (1, 1, 1))
    assert (truth == before[0]).all()
    assert (pred == before[1]).all()


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
def test_axes_and_directions_change_nothing(surface: Any) -> None:
    truth, pred, spacing = blob(3, (9, 12, 14)), blob(4, (9, 12, 14)), (1.5, 0.8, 0.7)
    expected = figures(surface_distances(truth, pred, spacing, surface=surface))
    for order in itertools.permutations(range(3)):
        turned = [mask.transpose(order)[::-1, :, ::-1] for mask in (truth, pred)]
        found = figures(surface_distances(*turned, [spacing[axis] for axis in order], surface=surface))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_threads_change_no_bit() -> None:
    truth, pred = blob(5, (40, 50, 60)), blob(6, (40, 50, 60))
    one, two = (surface_distances(truth, pred, (1, 0.7, 0.7), threads=threads) for threads in (1, 2))
    assert figures(one) == figures(two)


def test_nsd_grows_with_the_tolerance() -> None:
    d = surface_distances(blob(5, fill=0.1), blob(6, fill=0.1), (1, 0.7, 0.7))
    shares = [d.nsd(tolerance) for tolerance in np.linspace(0, 5, 40)]
    assert shares == sorted(shares)
    assert d.nsd(d.hausdorff()) == 1
    assert d.nsd(INF) == 1


def test_percentiles_grow_and_end_at_the_largest_distance() -> None:
    for surface in ("surfels", "voxels"):
        d = surface_distances(blob(5, fill=0.1), blob(6, fill=0.1), (1, 0.7, 0.7), surface=surface)  # type: ignore[arg-type]
        found = [d.hausdorff(percent) for percent in np.linspace(0, 100, 60)]
        assert found == sorted(found)
        assert found[-1] == max(side.distance_mm.max() for side in (d.truth_to_pred, d.pred_to_truth))


def test_combinations_order_themselves() -> None:
    d = surface_distances(blob(5, fill=0.1), blob(6, fill=0.4), (1, 0.7, 0.7))
    directed = d.hausdorff(95, "truth_to_pred"), d.hausdorff(95, "pred_to_truth")
    assert d.hausdorff(95, "max") == max(directed)
    assert d.hausdorff(95, "mean") == pytest.approx(sum(directed) / 2)
    assert min(directed) <= d.hausdorff(95, "pooled") <= max(directed)
    assert d.assd("mean") == pytest.approx(sum(d.average()) / 2)
    assert d.assd("max") == max(d.average())
    assert (d.assd("truth_to_pred"), d.assd("pred_to_truth")) == d.average()
    assert min(d.average()) <= d.assd() <= max(d.average())


# Published values


def test_voxels_two_apart_in_a_volume_match_deepmind() -> None:
    truth, pred = np.zeros((128, 128, 128), np.bool_), np.zeros((128, 128, 128), np.bool_)
    truth[50, 60, 70] = pred[50, 60, 72] = True
    d = surface_distances(truth, pred, (3, 2, 1))
    assert d.average() == pytest.approx((1.5, 1.5), abs=1e-12)
    assert (d.hausdorff(), d.hausdorff(95)) == (2, 2)
    assert d.overlap(1) == pytest.approx((0.5, 0.5), abs=1e-12)
    assert d.nsd(1) == pytest.approx(0.5, abs=1e-12)
    assert d.truth_to_pred.size == pytest.approx(7.0, abs=1e-12)
    assert metrics.dice(truth, pred) == 0


def test_pixels_two_apart_in_an_image_match_deepmind() -> None:
    truth, pred = np.zeros((128, 128), np.bool_), np.zeros((128, 128), np.bool_)
    truth[50, 70] = pred[50, 72] = True
    d = surface_distances(truth, pred, (2, 1))
    for side in (d.truth_to_pred, d.pred_to_truth):
        assert np.repeat(side.distance_mm, side.count).tolist() == [1, 1, 2, 2]
        np.testing.assert_allclose(side.element, 0.5 * math.sqrt(5), rtol=1e-12)
    assert d.average() == pytest.approx((1.5, 1.5), abs=1e-12)
    assert (d.hausdorff(100), d.hausdorff(95)) == (2, 2)
    assert d.overlap(1) == pytest.approx((0.5, 0.5), abs=1e-12)
    assert d.nsd(1) == pytest.approx(0.5, abs=1e-12)
    assert metrics.dice(truth, pred) == 0


def test_squares_of_unequal_size_match_deepmind() -> None:
    truth = box((6, 6), slice(2, 4), slice(2, 4))
    pred = box((6, 6), slice(2, 5), slice(2, 4))
    d = surface_distances(truth, pred, (2, 1))
    assert d.truth_to_pred.elements == 8
    assert d.pred_to_truth.elements == 10
    assert np.repeat(d.truth_to_pred.distance_mm, d.truth_to_pred.count).tolist() == [0] * 7 + [1]
    assert np.repeat(d.pred_to_truth.distance_mm, d.pred_to_truth.count).tolist() == [0] * 7 + [2] * 3
    assert set(np.round(d.truth_to_pred.element, 12)) == {1.0, 2.0, round(0.5 * math.sqrt(5), 12)}


def test_slabs_at_the_border_match_the_published_script() -> None:
    shape = (100, 100, 100)
    truth, pred = box(shape, slice(0, 50)), box(shape, slice(0, 51))
    d = surface_distances(truth, pred, (2, 1, 1))
    assert d.nsd(1) == pytest.approx(0.8361450084979621, abs=1e-12)
    assert d.nsd(2) == 1
    assert d.truth_to_pred.size == pytest.approx(59575.66877731504, abs=1e-7)
    assert d.average() == pytest.approx((0.322, 0.339), abs=1e-3)
    assert (d.hausdorff(), d.hausdorff(95)) == (2, 2)
    assert d.overlap(1) == pytest.approx((0.842, 0.830), abs=1e-3)
    assert metrics.dice(truth, pred) == pytest.approx(0.9900990099009901, abs=1e-15)


def ellipsoids() -> tuple[Mask, Mask]:
    z, y, x = np.ogrid[:40, :48, :56]
    truth = 4 * (z - 20) ** 2 + (y - 24) ** 2 + (x - 28) ** 2 < 200
    return truth, 4 * (z - 21) ** 2 + (y - 25) ** 2 + (x - 26) ** 2 < 190


def test_ellipsoids_match_the_published_script() -> None:
    truth, pred = ellipsoids()
    d = surface_distances(truth, pred, (2.5, 0.8, 0.8))
    assert d.nsd(1) == pytest.approx(0.5663165560559591, abs=1e-12)
    assert d.nsd(3) == pytest.approx(0.9911341720426818, abs=1e-12)
    assert d.truth_to_pred.size == pytest.approx(2493.3719046444476, abs=1e-9)
    assert metrics.dice(truth, pred) == pytest.approx(0.8378521126760563, abs=1e-15)
    alone = surface_distances(truth, np.zeros_like(truth), (1, 1, 1))
    assert (alone.nsd(1), alone.truth_to_pred.size) == (0, pytest.approx(1863.874848447884, abs=1e-9))


# MONAI's own expectations, of its tests/metrics/test_hausdorff_distance.py and test_surface_distance.py: balls (radius
# and centre) of prediction and truth, spacing. "directed" is there from prediction to truth; its numbers are float32.
UNIT, LONG = (1.0, 1.0, 1.0), (0.85, 1.2, 0.9)
MONAI_HAUSDORFF = [
    ((20, (49, 49, 49)), (20, (49, 49, 49)), UNIT, 100, 0.0, 0.0),
    ((20, (20, 20, 20)), (20, (19, 19, 19)), UNIT, 100, 1.7320508075688772, 1.7320508075688772),
    ((33, (19, 33, 22)), (33, (20, 33, 22)), UNIT, 100, 1.0, 1.0),
    ((20, (20, 33, 22)), (40, (20, 33, 22)), UNIT, 100, 20.09975124224178, 20.223748416156685),
    ((20, (20, 33, 22)), (40, (20, 33, 22)), UNIT, 95, 19.924858845171276, 20.09975124224178),
    ((20, (20, 20, 20)), (20, (19, 19, 19)), LONG, 100, 2.0808651447296143, 2.2671568),
    ((15, (20, 33, 22)), (30, (20, 33, 22)), LONG, 100, 15.439640998840332, 15.62594),
]
MONAI_AVERAGE = [
    ((20, (49, 49, 49)), (20, (49, 49, 49)), 0.0, 0.0),
    ((33, (19, 33, 22)), (33, (20, 33, 22)), 0.3483278807706289, 0.350217),
    ((20, (20, 33, 22)), (40, (20, 33, 22)), 12.040033513150455, 15.117741),
]


@pytest.mark.parametrize(("pred", "truth", "spacing", "percentile", "directed", "symmetric"), MONAI_HAUSDORFF)
def test_hausdorff_of_voxels_matches_monai(
    pred: Any, truth: Any, spacing: Any, percentile: float, directed: float, symmetric: float
) -> None:
    d = surface_distances(ball(*truth, spacing), ball(*pred, spacing), spacing, surface="voxels")
    assert d.hausdorff(percentile, "pred_to_truth") == pytest.approx(directed, rel=1e-6)
    assert d.hausdorff(percentile) == pytest.approx(symmetric, rel=1e-6)


@pytest.mark.parametrize(("pred", "truth", "directed", "symmetric"), MONAI_AVERAGE)
def test_average_of_voxels_matches_monai(pred: Any, truth: Any, directed: float, symmetric: float) -> None:
    d = surface_distances(ball(*truth), ball(*pred), UNIT, surface="voxels")
    assert d.average()[1] == pytest.approx(directed, rel=1e-6)
    assert d.assd() == pytest.approx(symmetric, rel=2e-6)


@pytest.mark.parametrize(
    ("tolerance", "background", "line"), [(0, 1 - 12 / 84, 0), (2.8, 1 - 3 / 84, 0), (3, 1 - 1 / 84, 0)]
)
def test_nsd_of_the_background_matches_monai(tolerance: float, background: float, line: float) -> None:
    """Two lines of three pixels, and the background around them: MONAI's tests/metrics/test_surface_dice.py."""
    pred, truth = box((10, 10), slice(1, 4), slice(1, 2)), box((10, 10), slice(5, 8), slice(6, 7))
    assert surface_distances(~truth, ~pred, (1, 1), surface="voxels").nsd(tolerance) == pytest.approx(background)
    assert surface_distances(truth, pred, (1, 1), surface="voxels").nsd(tolerance) == line


@pytest.mark.parametrize(("tolerance", "share"), [(5.5, 1 - 4 / 6), (6, 1 - 2 / 6), (6.5, 1)])
def test_nsd_of_lines_matches_monai(tolerance: float, share: float) -> None:
    pred, truth = box((10, 10), slice(1, 4), slice(1, 2)), box((10, 10), slice(5, 8), slice(6, 7))
    assert surface_distances(truth, pred, (1, 1), surface="voxels").nsd(tolerance) == pytest.approx(share)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nsd_of_half_a_volume_matches_monai(axis: int) -> None:
    """Slabs 10 voxels apart; MONAI's closed form, tests/metrics/test_surface_dice.py, here on 60 x 50 x 40 voxels."""
    shape = np.moveaxis(np.empty((60, 50, 40)), 2, axis).shape
    ahead = [slice(None)] * axis
    truth, pred = box(shape, *ahead, slice(15, None)), box(shape, *ahead, slice(5, None))
    d = surface_distances(truth, pred, UNIT, surface="voxels")
    apart = 60 * 50 + 58 * 48 + 9 * 60 * 2 + 9 * 48 * 2
    assert d.nsd(0) == pytest.approx(1 - apart / (60 * 50 * 4 + (33 + 23) * 60 * 2 + (33 + 23) * 48 * 2), rel=1e-12)
    assert d.nsd(9.99) < d.nsd(10) == 1


@pytest.mark.parametrize("way", INTERPOLATION)
def test_percentiles_of_voxels_are_numpys(way: Any) -> None:
    truth, pred = blob(7, (30, 40), 0.1), blob(8, (30, 40), 0.1)
    d = surface_distances(truth, pred, (1, 1), surface="voxels")
    spread = [np.repeat(side.distance_mm, side.count) for side in (d.truth_to_pred, d.pred_to_truth)]
    method: Any = "linear" if way == "linear" else "inverted_cdf"
    for percent in (0, 12.5, 50, 77.7, 95, 100):
        numpys = [np.percentile(values, percent, method=method) for values in spread]
        assert d.hausdorff(percent, interpolation=way) == max(numpys)
        whole = np.percentile(np.concatenate(spread), percent, method=method)
        assert d.hausdorff(percent, "pooled", interpolation=way) == whole


# Empty masks


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
@pytest.mark.parametrize("rank", [2, 3])
def test_one_empty_mask_gives_deepminds_values(rank: int, surface: Any) -> None:
    mask, nothing, spacing = box((9,) * rank, slice(3, 5)), np.zeros((9,) * rank, np.bool_), (1.0,) * rank
    d = surface_distances(mask, nothing, spacing, surface=surface)
    np.testing.assert_equal(d.average(), (INF, NAN))
    np.testing.assert_equal(d.overlap(1), (0.0, NAN))
    other = surface_distances(nothing, mask, spacing, surface=surface)
    np.testing.assert_equal(other.average(), (NAN, INF))
    np.testing.assert_equal(other.overlap(1), (NAN, 0.0))
    for one in (d, other):
        assert (one.nsd(1), one.hausdorff(), one.hausdorff(95), one.assd()) == (0, INF, INF, INF)
        assert (one.assd("mean"), one.assd("max"), one.hausdorff(95, "pooled")) == (INF, INF, INF)
    assert metrics.dice(mask, nothing) == metrics.dice(nothing, mask) == 0


@pytest.mark.parametrize("surface", ["surfels", "voxels"])
@pytest.mark.parametrize("rank", [2, 3])
def test_two_empty_masks_give_deepminds_values(rank: int, surface: Any) -> None:
    nothing = np.zeros((9,) * rank, np.bool_)
    d = surface_distances(nothing, nothing, (1.0,) * rank, surface=surface)
    np.testing.assert_equal((d.nsd(1), d.assd(), *d.average(), *d.overlap(1)), (NAN,) * 6)
    assert (d.hausdorff(), d.hausdorff(95)) == (INF, INF)
    assert math.isnan(metrics.dice(nothing, nothing))


def test_answers_for_empty_masks_can_be_chosen() -> None:
    mask, nothing = box((5, 5, 5), slice(1, 3)), np.zeros((5, 5, 5), np.bool_)
    one, two = surface_distances(mask, nothing, UNIT), surface_distances(nothing, nothing, UNIT)
    assert one.nsd(1, one_empty=0.25, both_empty=1) == 0.25
    assert two.nsd(1, one_empty=0.25, both_empty=1) == 1
    assert one.hausdorff(95, one_empty=373.13, both_empty=0) == 373.13
    assert two.hausdorff(95, one_empty=373.13, both_empty=0) == 0
    assert (one.assd(one_empty=9), two.assd(both_empty=0)) == (9, 0)
    assert one.average(one_empty=9) == (9, 9)
    assert two.overlap(1, both_empty=1) == (1, 1)
    full = surface_distances(mask, mask, UNIT)
    assert full.nsd(1, both_empty=5, one_empty=5) == 1
    assert metrics.dice(nothing, nothing, both_empty=1) == 1
    # What is no number is refused although no mask is empty.
    for measured in (full.nsd, full.overlap, full.average, full.assd, full.hausdorff):
        first: Any = (1,) if measured in (full.nsd, full.overlap) else ()
        with pytest.raises(ValueRangeError, match="one_empty: got 'x', expected a number"):
            measured(*first, one_empty="x")  # type: ignore[operator]
    assert metrics.iou(mask, nothing, one_empty=0.5) == 0.5


def test_a_mask_that_fills_the_grid_has_its_border_as_surface() -> None:
    full = np.ones((4, 5, 6), np.bool_)
    d = surface_distances(full, full, UNIT)
    assert d.truth_to_pred.elements == 5 * 6 * 7 - 3 * 4 * 5
    assert d.hausdorff() == 0


# Near ties


def replayed(side: DirectedDistances, percent: float) -> float:
    """deepmind's percentile, on every element."""
    distances, elements = np.repeat(side.distance_mm, side.count), np.repeat(side.element, side.count)
    index = np.searchsorted(np.cumsum(elements) / np.sum(elements), percent / 100.0)
    return float(distances[min(index, len(distances) - 1)])


@pytest.mark.parametrize("seed", range(20))
def test_percentile_at_exact_shares_is_decided_as_deepmind_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(2, 40))
    distance = np.sort(rng.choice(np.sqrt(np.arange(200)) * 0.7, groups, replace=False))
    element = rng.choice([math.sqrt(3) / 8 * 0.49, math.sqrt(2) / 4 * 0.7, 0.7], groups)
    side = DirectedDistances(distance, element, rng.integers(1, 3000, groups))
    shares = np.cumsum(side.element * side.count) / (side.element * side.count).sum()
    for share in (*shares, *np.nextafter(shares, 0), *np.nextafter(shares, 1), 0.95, 0.0, 1.0):
        percent = float(np.clip(100 * share, 0, 100))
        assert side.percentile_mm(percent, "none") == replayed(side, percent)


def test_largest_percentile_is_deepminds_even_where_its_sum_ends_early() -> None:
    """np.cumsum can reach 1 before the last element; deepmind's Hausdorff distance is then not the largest."""
    element = np.array([0.1, 0.1])
    for count in range(3, 4000, 7):
        side = DirectedDistances(np.array([1.0, 2.0]), element, np.array([count, 1]))
        assert side.percentile_mm(100, "none") == replayed(side, 100)


# Errors


@pytest.mark.parametrize(
    ("truth", "pred", "spacing", "error", "words"),
    [
        ((4, 5, 6), (4, 5, 7), UNIT, ShapeError, r"pred: got shape \(4, 5, 7\), expected \(4, 5, 6\)"),
        ((4, 5, 6), (4, 5), UNIT, ShapeError, "pred: got shape"),
        ((4,), (4,), (1.0,), ShapeError, r"truth: got shape \(4,\), expected \(D, H, W\) or \(H, W\)"),
        ((1, 4, 5, 6), (1, 4, 5, 6), UNIT, ShapeError, "truth: got shape"),
        ((0, 5, 6), (0, 5, 6), UNIT, ShapeError, "at least one voxel"),
        ((4, 5, 6), (4, 5, 6), (1.0, 1.0), ShapeError, r"spacing_mm: got \[1.0, 1.0\], expected 3 numbers"),
        ((4, 5), (4, 5), UNIT, ShapeError, "spacing_mm: got .*expected 2 numbers"),
        ((4, 5, 6), (4, 5, 6), 1.0, ShapeError, "spacing_mm"),
        ((4, 5, 6), (4, 5, 6), (1.0, 0.0, 1.0), ValueRangeError, "spacing_mm: got .*expected finite numbers > 0"),
        ((4, 5, 6), (4, 5, 6), (1.0, 1e300, 1.0), ValueRangeError, r"expected finite numbers > 0, 1e-50 to 1e\+50 mm"),
        ((4, 5, 6), (4, 5, 6), (1.0, -1.0, 1.0), ValueRangeError, "spacing_mm"),
        ((4, 5, 6), (4, 5, 6), (1.0, NAN, 1.0), ValueRangeError, "spacing_mm"),
        ((4, 5, 6), (4, 5, 6), (1.0, INF, 1.0), ValueRangeError, "spacing_mm"),
        ((4, 5, 6), (4, 5, 6), ("a", 1.0, 1.0), ValueRangeError, "spacing_mm"),
        ((4, 5, 6), (4, 5, 6), None, ValueRangeError, "spacing_mm: got None, expected 3 numbers in mm"),
    ],
)
def test_wrong_grids_are_refused(truth: Any, pred: Any, spacing: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        surface_distances(np.ones(truth, np.bool_), np.ones(pred, np.bool_), spacing)


@pytest.mark.parametrize("tolerance", [-1.0, -0.001, NAN, "1", None, True])
def test_wrong_tolerance_is_refused(tolerance: Any) -> None:
    d = surface_distances(blob(0), blob(1), UNIT)
    with pytest.raises(ValueRangeError, match="tolerance_mm: got"):
        d.nsd(tolerance)
    with pytest.raises(ValueRangeError, match="tolerance_mm: got"):
        d.overlap(tolerance)


@pytest.mark.parametrize("percentile", [-1, 100.001, NAN, "95", None, True])
def test_wrong_percentile_is_refused(percentile: Any) -> None:
    with pytest.raises(ValueRangeError, match=r"percentile: got .*expected a number from 0 to 100"):
        surface_distances(blob(0), blob(1), UNIT).hausdorff(percentile)


def test_unknown_choices_are_refused() -> None:
    wrong: Any = "sum"
    d = surface_distances(blob(0), blob(1), UNIT)
    with pytest.raises(ValueRangeError, match="combine: got 'sum', expected one of 'max'"):
        d.hausdorff(95, wrong)
    with pytest.raises(ValueRangeError, match="combine: got 'sum'"):
        d.assd(wrong)
    with pytest.raises(ValueRangeError, match="interpolation: got 'sum'"):
        d.hausdorff(95, interpolation=wrong)
    with pytest.raises(ValueRangeError, match="interpolation: got 'linear', expected \"none\" for surfels"):
        d.hausdorff(95, interpolation="linear")
    with pytest.raises(ValueRangeError, match="surface: got 'sum', expected one of 'surfels', 'voxels'"):
        surface_distances(blob(0), blob(1), UNIT, surface=wrong)
    with pytest.raises(ValueRangeError, match="threads: got 0"):
        surface_distances(blob(0), blob(1), UNIT, threads=0)
    with pytest.raises(ValueRangeError, match="device: got 3"):
        surface_distances(blob(0), blob(1), UNIT, device=3)  # type: ignore[arg-type]
