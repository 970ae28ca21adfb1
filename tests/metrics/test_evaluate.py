"""evaluate: laws, agreement with the single functions, labels, tolerances, conventions, errors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast import _core
from covfast.errors import DTypeError, GeometryError, ShapeError, ValueRangeError
from covfast.metrics import Report, confusion, dice, evaluate, surface_distances
from covfast.metrics.report import METRICS
from covfast.volume import Geometry, Segmentation

SPACING = (2.5, 0.8, 0.7)
LABELS = {"left lung": 1, "right lung": 2, "infection": 3}


def maps(shape: tuple[int, ...] = (12, 30, 33)) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Truth and prediction: two lungs as boxes, an infection in each, the prediction shifted and ragged."""
    truth = np.zeros(shape, np.uint8)
    truth[..., 4:24, 3:13], truth[..., 4:24, 18:29] = 1, 2
    truth[..., 8:14, 6:10], truth[..., 15:20, 20:26] = 3, 3
    pred = np.roll(truth, 1, axis=-2)
    noise = np.random.default_rng(0).random(shape)
    return truth, np.where((noise < 0.05) & (pred > 0), 3, pred).astype(np.uint8)


def numbers(report: Report) -> dict[str, list[float]]:
    return {name: list(label.figures().values()) for name, label in report.labels.items()}


# Laws


def test_every_figure_is_that_of_the_single_functions() -> None:
    truth, pred = maps()
    report = evaluate(truth, pred, SPACING, LABELS, {"left lung": 1.0, "right lung": 1.0, "infection": 3.0})
    voxel_ml = math.prod(SPACING) / 1000
    for (name, value), tolerance in zip(LABELS.items(), (1.0, 1.0, 3.0), strict=True):
        found, one, other = report[name], truth == value, pred == value
        d, counts = surface_distances(one, other, SPACING), confusion(one, other)
        assert found.dice == found.f1 == dice(one, other)
        for key in ("iou", "sensitivity", "specificity", "precision", "accuracy", "mcc"):
            assert getattr(found, key) == getattr(counts, key)
        assert (found.nsd, found.assd_mm) == (d.nsd(tolerance), d.assd())
        assert (found.hausdorff_mm, found.hausdorff95_mm) == (d.hausdorff(), d.hausdorff(95))
        assert found.tolerance_mm == tolerance
        assert found.truth_ml == pytest.approx(one.sum() * voxel_ml, rel=1e-14)
        assert found.prediction_ml == pytest.approx(other.sum() * voxel_ml, rel=1e-14)
        assert found.difference_ml == pytest.approx(found.prediction_ml - found.truth_ml, abs=1e-12)
        assert found.difference_percent == pytest.approx(100 * found.difference_ml / found.truth_ml, abs=1e-10)


def test_all_labels_are_measured_in_one_native_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, measure = [], _core.surface_measure

    def counted(*args: Any) -> Any:
        calls.append(args)
        return measure(*args)

    monkeypatch.setattr(_core, "surface_measure", counted)
    truth, pred = maps()
    evaluate(truth, pred, SPACING, LABELS)
    assert len(calls) == 1
    assert calls[0][0] is truth  # not copied
    assert calls[0][1] is pred


def test_renumbered_labels_give_the_same() -> None:
    truth, pred = maps()
    table = np.array([9, 200, 7, 0], np.uint8)
    other = {name: int(table[value]) for name, value in LABELS.items()}
    assert numbers(evaluate(table[truth], table[pred], SPACING, other)) == numbers(
        evaluate(truth, pred, SPACING, LABELS)
    )


def test_values_may_differ_between_the_maps() -> None:
    truth, pred = maps()
    swapped = np.array([0, 2, 1, 3], np.uint8)[pred].astype(np.int32)  # lungmask's order
    labels = {"left lung": {"truth": 1, "prediction": 2}, "right lung": {"truth": 2, "prediction": 1}, "infection": 3}
    assert numbers(evaluate(truth, swapped, SPACING, labels)) == numbers(evaluate(truth, pred, SPACING, LABELS))


def test_a_label_may_be_a_union_and_labels_may_overlap() -> None:
    truth, pred = maps()
    report = evaluate(
        truth, pred, SPACING, {"lungs": (1, 2, 3), "infection": 3, "left side": {"truth": (1, 3), "prediction": 1}}
    )
    assert report["lungs"].dice == dice(truth > 0, pred > 0)
    assert report["infection"].dice == dice(truth == 3, pred == 3)
    assert report["left side"].dice == dice((truth == 1) | (truth == 3), pred == 1)
    assert report["left side"].truth_values == (1, 3)
    assert report["left side"].prediction_values == (1,)


def test_swapping_the_maps_swaps_what_has_sides() -> None:
    truth, pred = maps()
    one, other = evaluate(truth, pred, SPACING, LABELS), evaluate(pred, truth, SPACING, LABELS)
    for name in LABELS:
        a, b = one[name], other[name]
        assert (a.sensitivity, a.precision, a.difference_ml) == (b.precision, b.sensitivity, -b.difference_ml)
        assert (a.nsd, a.hausdorff95_mm, a.mcc) == (b.nsd, b.hausdorff95_mm, b.mcc)
        assert a.assd_mm == b.assd_mm


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_type_and_layout_change_nothing(dtype: Any) -> None:
    truth, pred = maps()
    expected = numbers(evaluate(truth, pred, SPACING, LABELS))
    assert numbers(evaluate(np.asfortranarray(truth.astype(dtype)), pred, SPACING, LABELS)) == expected


def test_threads_change_no_bit() -> None:
    truth, pred = maps()
    one, two = (evaluate(truth, pred, SPACING, LABELS, threads=threads) for threads in (1, 2))
    assert numbers(one) == numbers(two)


def test_an_image_has_areas_but_no_volume() -> None:
    truth, pred = (array[0] for array in maps())
    found = evaluate(truth, pred, SPACING[1:], {"infection": 3})["infection"]
    assert found.hausdorff_mm == surface_distances(truth == 3, pred == 3, SPACING[1:]).hausdorff()
    assert math.isnan(found.truth_ml)
    assert found.difference_percent == pytest.approx(100 * ((pred == 3).sum() / (truth == 3).sum() - 1))


# Published values


def test_the_benchmarks_case_matches_its_script() -> None:
    z, y, x = np.ogrid[:40, :48, :56]
    truth = np.where(4 * (z - 20) ** 2 + (y - 24) ** 2 + (x - 28) ** 2 < 200, 3, 0)
    pred = np.where(4 * (z - 21) ** 2 + (y - 25) ** 2 + (x - 26) ** 2 < 190, 3, 0)
    report = evaluate(truth, pred, (2.5, 0.8, 0.8), {"infection": 3}, convention="ctseg", case="coronacases_001.nii.gz")
    assert report["infection"].dice == pytest.approx(0.8378521126760563, abs=1e-14)
    assert report["infection"].nsd == pytest.approx(0.9911341720426818, abs=1e-12)
    assert report.row == {
        "Name": "coronacases_001.nii.gz",
        "LesionDSC": report["infection"].dice,
        "LesionNSD-3mm": report["infection"].nsd,
    }
    assert evaluate(truth, pred, (2.5, 0.8, 0.8), {"infection": 3}, 1)["infection"].nsd == pytest.approx(
        0.5663165560559591, abs=1e-12
    )


# Defaults


def test_defaults_are_covfasts_own_labels_and_the_benchmarks_tolerances() -> None:
    truth, pred = maps()
    report = evaluate(truth, pred, SPACING)
    assert list(report) == list(LABELS)
    assert [report[name].tolerance_mm for name in report] == [1.0, 1.0, 3.0]
    assert numbers(report) == numbers(evaluate(truth, pred, SPACING, list(LABELS)))


def test_two_masks_are_one_label() -> None:
    truth, pred = (array > 0 for array in maps())
    report = evaluate(truth, pred, SPACING)
    assert list(report) == ["mask"]
    assert report["mask"].dice == dice(truth, pred)
    assert math.isnan(report["mask"].nsd)
    assert list(evaluate(truth, pred, convention="miniseg")) == ["infection"]


def test_names_of_segmentations_are_labels() -> None:
    truth, pred = maps()
    grid = Geometry.from_spacing((12, 30, 33), SPACING)
    mine = Segmentation(truth, grid, {0: "background", 1: "left lung", 2: "right lung", 3: "infection"})
    theirs = Segmentation(
        np.array([0, 2, 1, 3], np.uint8)[pred], grid, {1: "right lung", 2: "left lung", 3: "infection"}
    )
    report = evaluate(mine, theirs)
    assert numbers(report) == numbers(evaluate(truth, pred, SPACING, LABELS))
    assert report.spacing_mm == SPACING


def test_a_segmenters_result_is_a_label_map() -> None:
    truth, pred = maps()
    grid = Geometry.from_spacing((12, 30, 33), SPACING)

    @dataclasses.dataclass
    class Result:
        segmentation: Segmentation

    assert numbers(evaluate(truth, Result(Segmentation(pred, grid)))) == numbers(evaluate(truth, pred, SPACING))


def test_a_label_without_tolerance_has_no_nsd() -> None:
    truth, pred = maps()
    report = evaluate(truth, pred, SPACING, {"lungs": (1, 2), "infection": 3}, {"infection": 2.0})
    assert math.isnan(report["lungs"].nsd)
    assert math.isnan(report["lungs"].tolerance_mm)
    assert report["infection"].tolerance_mm == 2.0


# Empty masks


def empties(**change: Any) -> tuple[Any, Any]:
    """Figures of a label in neither map, and of one in the truth alone."""
    truth, pred = np.zeros((6, 7, 8), np.uint8), np.zeros((6, 7, 8), np.uint8)
    truth[2:4, 2:4, 2:4] = 3
    report = evaluate(truth, pred, (1, 1, 1), {"left lung": 1, "infection": 3}, **change)
    return report["left lung"], report["infection"]


def test_empty_masks_give_deepminds_values() -> None:
    both, one = empties()
    for key in ("dice", "iou", "sensitivity", "precision", "f1", "mcc", "nsd", "assd_mm", "difference_percent"):
        assert math.isnan(getattr(both, key)), key
    assert (both.specificity, both.accuracy, both.truth_ml) == (1, 1, 0)
    assert (both.hausdorff_mm, both.hausdorff95_mm) == (math.inf, math.inf)
    assert (one.dice, one.iou, one.sensitivity, one.f1, one.nsd) == (0,) * 5
    assert (one.assd_mm, one.hausdorff_mm, one.hausdorff95_mm) == (math.inf,) * 3
    assert math.isnan(one.precision)
    assert one.difference_percent == -100


def test_answers_for_empty_masks_can_be_chosen() -> None:
    both, one = empties(both_empty=1, one_empty={"hausdorff95_mm": 373.13, "nsd": -1})
    assert (both.dice, both.iou, both.f1, both.nsd) == (1,) * 4
    assert math.isnan(both.assd_mm)  # a number cannot be a share and a distance
    assert (one.hausdorff95_mm, one.nsd, one.hausdorff_mm, one.dice) == (373.13, -1, math.inf, 0)


# Conventions and probabilities


@pytest.mark.parametrize("convention", ["infnet", "miniseg"])
def test_scripts_of_pixels_need_no_spacing(convention: str) -> None:
    truth, pred = (array[0] for array in maps())
    report = evaluate(truth, pred, labels={"infection": 3}, convention=convention, case="1.png")
    assert report.row["Name"] == "1.png"
    assert report.convention == convention
    found = report["infection"]
    assert found.dice == dice(truth == 3, pred == 3)
    for key in ("truth_ml", "nsd", "assd_mm", "hausdorff_mm", "hausdorff95_mm"):
        assert math.isnan(getattr(found, key)), key
    assert np.isnan(report.spacing_mm).all()
    assert "unknown size" in str(report)
    known = evaluate(truth, pred, SPACING[1:], labels={"infection": 3}, convention=convention)
    assert known.row == {**report.row, "Name": ""}
    assert known["infection"].hausdorff_mm > 0


def test_a_probability_map_brings_its_figures() -> None:
    truth, pred = (array[0] for array in maps())
    chance = np.random.default_rng(1).random(truth.shape).astype(np.float32)
    report = evaluate(truth, pred, SPACING[1:], {"lungs": (1, 2), "infection": 3}, probability=chance)
    found = report["infection"].probability
    assert found is not None
    assert report["lungs"].probability is None
    low, high = float(chance.min()), float(chance.max())
    stretched = (chance.astype(np.float64) - low) / (high - low)
    assert found["mae"] == pytest.approx(np.abs(stretched - (truth == 3)).mean(), abs=1e-7)
    named = evaluate(truth, pred, SPACING[1:], {"lungs": (1, 2)}, probability={"lungs": chance})
    assert named["lungs"].probability is not None


def test_a_probability_map_follows_its_predictions_axes() -> None:
    truth, pred = maps()
    chance = np.random.default_rng(1).random(truth.shape).astype(np.float32)
    expected = evaluate(truth, pred, SPACING, {"infection": 3}, probability=chance)["infection"].probability
    grid = Geometry.from_spacing(truth.shape, SPACING)
    affine = np.array(grid.affine)
    affine[:3, 3] += affine[:3, 1] * (truth.shape[1] - 1)
    affine[:3, 1] *= -1
    flipped = Geometry(grid.shape, affine)
    report = evaluate(
        Segmentation(truth, grid),
        Segmentation(pred[:, ::-1].copy(), flipped),
        labels={"infection": 3},
        probability=chance[:, ::-1].copy(),
    )
    assert report["infection"].probability == expected


# Errors

WRONG_LABELS: list[tuple[Any, str]] = [
    ({"infection": 300}, r"labels\['infection'\]: got 300, expected a value from 0 to 255; truth is uint8"),
    ({"infection": -1}, r"labels\['infection'\]: got -1"),
    ({"infection": {"truth": 3, "prediction": 256}}, "pred is uint8"),
    ({"infection": 3.0}, r"labels\['infection'\]: got '?3.0'?, expected a whole number"),
    ({"infection": True}, "expected a whole number"),
    ({"infection": ()}, "expected a whole number"),
    ({"infection": {"truth": 3}}, 'expected the keys "truth" and "prediction"'),
    ({3: "infection"}, "labels: got 3, expected names as keys"),
    ({"": 3}, "expected names as keys"),
    ({}, "labels: got {}, expected names and values"),
    ("infection", "labels: got 'infection', expected names and values"),
    (3, "labels: got 3"),
    (
        ["trachea"],
        "labels: got 'trachea', which truth does not have, "
        "expected one of 'background', 'left lung', 'right lung', 'infection'",
    ),
]


@pytest.mark.parametrize(("labels", "words"), WRONG_LABELS)
def test_wrong_labels_are_refused(labels: Any, words: str) -> None:
    truth, pred = maps()
    with pytest.raises(ValueRangeError, match=words):
        evaluate(truth, pred, SPACING, labels)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tolerance_mm": -1}, ValueRangeError, "tolerance_mm: got -1"),
        ({"tolerance_mm": math.nan}, ValueRangeError, "tolerance_mm: got nan"),
        ({"tolerance_mm": {"infection": -1}}, ValueRangeError, r"tolerance_mm\['infection'\]: got -1"),
        ({"tolerance_mm": {"trachea": 1}}, ValueRangeError, "tolerance_mm: got 'trachea', expected names that are"),
        ({"convention": "dice"}, ValueRangeError, "convention: got 'dice', expected one of 'ctseg'"),
        ({"convention": "infnet"}, ValueRangeError, "labels: got 3 labels, expected one label"),
        ({"convention": "ctseg", "tolerance_mm": 2}, ValueRangeError, "tolerance_mm of 'left lung'"),
        ({"probability": {"trachea": np.zeros((12, 30, 33))}}, ValueRangeError, "probability: got 'trachea'"),
        ({"probability": np.full((12, 30, 33), np.nan)}, ValueRangeError, "probability: got"),
        ({"probability": np.full((12, 30, 33), 1.5)}, ValueRangeError, "probability: got"),
        ({"probability": np.zeros((11, 30, 33))}, ShapeError, "probability: got"),
        ({"both_empty": {"truth_ml": 1}}, ValueRangeError, "both_empty: got 'truth_ml'"),
        ({"one_empty": "nan"}, ValueRangeError, r"one_empty\['dice'\]: got 'nan', expected a number"),
        ({"spacing_mm": None}, ValueRangeError, "spacing_mm: got None, expected 3 numbers in mm"),
        ({"threads": -2}, ValueRangeError, "threads: got -2"),
    ],
)
def test_wrong_arguments_are_refused(change: Mapping[str, Any], error: type[Exception], words: str) -> None:
    truth, pred = maps()
    with pytest.raises(error, match=words):
        evaluate(truth, pred, **{"spacing_mm": SPACING, "labels": LABELS, **change})


def test_a_name_that_only_the_truth_has_is_refused_and_the_map_that_lacks_it_is_named() -> None:
    truth, pred = maps()
    grid = Geometry.from_spacing(truth.shape, SPACING)
    whole = Segmentation(truth, grid)
    part = Segmentation((pred == 3).astype(np.uint8), grid, {0: "background", 1: "infection"})
    words = "labels: got 'left lung', which pred does not have, expected one of 'background', 'infection'; pass labels="
    with pytest.raises(ValueRangeError, match=words):
        evaluate(whole, part)
    expected = dice(truth == 3, pred == 3)
    assert evaluate(whole, part, labels=["infection"])["infection"].dice == expected
    # The truth's names are what is evaluated: what only the prediction has is left out.
    truth_part = Segmentation((truth == 3).astype(np.uint8), grid, {0: "background", 1: "infection"})
    report = evaluate(truth_part, Segmentation(pred, grid))
    assert {name: label.dice for name, label in report.labels.items()} == {"infection": expected}


def test_one_probability_map_for_several_unknown_labels_is_refused() -> None:
    truth, pred = maps()
    with pytest.raises(ValueRangeError, match="probability: got one map for 2 labels, expected name -> map"):
        evaluate(truth, pred, SPACING, {"a": 1, "b": 2}, probability=np.zeros(truth.shape))


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e-9])
def test_fractions_in_a_label_map_are_refused(value: float) -> None:
    truth, pred = (array.astype(np.float64) for array in maps())
    pred[5, 6, 7] = value
    with pytest.raises(ValueRangeError, match="pred"):
        evaluate(truth, pred, SPACING, LABELS)


def test_maps_that_do_not_fit_are_refused() -> None:
    truth, pred = maps()
    with pytest.raises(
        ShapeError, match=r"pred: got shape \(11, 30, 33\), expected \(12, 30, 33\), the shape of truth"
    ):
        evaluate(truth, pred[1:], SPACING)
    with pytest.raises(DTypeError, match="truth: got complex128"):
        evaluate(truth.astype(complex), pred, SPACING)
    grids = [Geometry.from_spacing(truth.shape, SPACING, origin_mm=(0, 0, step)) for step in (0, 1)]
    with pytest.raises(GeometryError, match="pred: got origin"):
        evaluate(Segmentation(truth, grids[0]), Segmentation(pred, grids[1]))


def test_figures_are_floats() -> None:
    truth, pred = maps()
    for label in evaluate(truth, pred, SPACING).labels.values():
        assert {key: type(value) for key, value in label.figures().items()} == dict.fromkeys(METRICS, float)
