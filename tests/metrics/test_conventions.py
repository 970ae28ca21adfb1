"""The published conventions: columns, averaging and empty rules, from reports that `evaluate` makes or made by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from reference import saliency as reference

from covfast.errors import ValueRangeError
from covfast.metrics.conventions import CONVENTIONS
from covfast.metrics.evaluate import evaluate
from covfast.metrics.report import LabelReport, Report
from covfast.metrics.saliency import Saliency, ThresholdCurves

Array = npt.NDArray[Any]

CTSEG, INFNET, MINISEG = (CONVENTIONS[name] for name in ("ctseg", "infnet", "miniseg"))
INFECTION = {"infection": 1}


def label(name: str, **figures: float) -> LabelReport:
    """A report of one label that knows only the given figures."""
    blank: dict[str, Any] = {field.name: math.nan for field in dataclasses.fields(LabelReport)}
    return LabelReport(**{**blank, "name": name, "probability": None, **figures})


def lungs(values: list[tuple[float, float]]) -> dict[str, LabelReport]:
    """Reports of left lung, right lung and infection with (dice, nsd) each, at the published tolerances."""
    names = zip(CTSEG.tolerance_mm.items(), values, strict=True)
    return {name: label(name, dice=d, nsd=n, tolerance_mm=tolerance) for (name, tolerance), (d, n) in names}


def images(seed: int, count: int, shape: tuple[int, int] = (24, 31)) -> list[tuple[Array, Array]]:
    """(truth, 8-bit map) pairs of smooth blobs."""
    generator = np.random.default_rng(seed)
    pairs = []
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(count):
        h, w = generator.uniform(6, 18), generator.uniform(6, 24)
        distance = np.hypot(y - h, x - w)
        noisy = np.hypot(y - h - generator.normal(0, 2), x - w) + generator.normal(0, 1, shape)
        pairs.append((distance < 6, np.clip(255 * (1 - noisy / 14), 0, 255).astype(np.uint8)))
    return pairs


# -- ctseg


def test_ctseg_row_has_the_scripts_columns() -> None:
    row = CTSEG.row("case_1", lungs([(0.9, 0.8), (0.7, 0.6), (0.5, 0.4)]), None)
    assert list(row) == [
        "Name", "L-lungDSC", "L-lung-1mm", "R-lungDSC", "R-lung-1mm", "LesionDSC", "LesionNSD-3mm",
    ]  # fmt: skip
    assert list(row.values()) == ["case_1", 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]


def test_ctseg_row_has_only_the_labels_in_question() -> None:
    found = lungs([(0.9, 0.8), (0.7, 0.6), (0.5, 0.4)])
    assert list(CTSEG.row("c", {"infection": found["infection"]}, None)) == ["Name", "LesionDSC", "LesionNSD-3mm"]
    two = CTSEG.row("c", {"right lung": found["right lung"], "left lung": found["left lung"]}, None)
    assert list(two) == ["Name", "L-lungDSC", "L-lung-1mm", "R-lungDSC", "R-lung-1mm"]


@pytest.mark.parametrize("names", [["lesion"], ["left lung", "heart"], []])
def test_ctseg_refuses_labels_that_the_script_does_not_know(names: list[str]) -> None:
    with pytest.raises(ValueRangeError, match=r"labels: got .*expected 'left lung' or"):
        CTSEG.columns(names)


def test_ctseg_refuses_another_tolerance() -> None:
    with pytest.raises(ValueRangeError, match=r"tolerance_mm of 'infection': got 1.0, expected 3.0"):
        CTSEG.row("c", {"infection": label("infection", dice=1.0, nsd=1.0, tolerance_mm=1.0)}, None)


def test_ctseg_summary_leaves_undefined_cases_out() -> None:
    rows = [CTSEG.row("c", lungs([(d, n)] * 3), None) for d, n in ((0.5, 0.25), (math.nan, math.nan), (0.75, 1.0))]
    found = CTSEG.summary([Report({}, (1.0, 1.0, 1.0), "c", "ctseg", row) for row in rows])
    assert found["LesionDSC"] == 0.625
    assert found["LesionDSC SD"] == pytest.approx(math.sqrt(2) / 8)
    assert found["L-lung-1mm"] == 0.625
    assert "Name" not in found


def test_ctseg_summary_without_a_value_is_undefined() -> None:
    row = CTSEG.row("c", lungs([(math.nan, math.nan)] * 3), None)
    found = CTSEG.summary([Report({}, (1.0, 1.0, 1.0), "c", "ctseg", row)])
    assert len(found) == 12
    assert all(math.isnan(value) for value in found.values())


def test_ctseg_of_golden_masks_from_the_published_script() -> None:
    # facts of the published script: grid 40x48x56, spacing (2.5, .8, .8), DSC .8378..., NSD at 3 mm .9911...
    z, y, x = np.mgrid[:40, :48, :56]
    truth = 4 * (z - 20) ** 2 + (y - 24) ** 2 + (x - 28) ** 2 < 200
    prediction = 4 * (z - 21) ** 2 + (y - 25) ** 2 + (x - 26) ** 2 < 190
    spacing = (2.5, 0.8, 0.8)
    both = {"left lung": 1, "infection": 1}
    report = evaluate(truth.astype(np.uint8), prediction.astype(np.uint8), spacing, both, convention="ctseg", case="g")
    assert report.row["Name"] == "g"
    assert report.row["LesionDSC"] == pytest.approx(0.8378521126760563, abs=1e-12)
    assert report.row["LesionNSD-3mm"] == pytest.approx(0.9911341720426818, abs=1e-9)
    assert report.row["L-lung-1mm"] == pytest.approx(0.5663165560559591, abs=1e-9)


def test_ctseg_of_empty_masks_is_nan_or_zero() -> None:
    some, none = np.zeros((2, 6, 6, 6), np.uint8)
    some[2:4, 2:4, 2:4] = 3
    only = {"infection": 3}
    both = evaluate(none, none, (1, 1, 1), only, convention="ctseg").row
    assert all(math.isnan(both[column]) for column in ("LesionDSC", "LesionNSD-3mm"))
    for truth, prediction in ((some, none), (none, some)):
        one = evaluate(truth, prediction, (1, 1, 1), only, convention="ctseg").row
        assert (one["LesionDSC"], one["LesionNSD-3mm"]) == (0, 0)


# -- infnet


def infnet_reports(pairs: list[tuple[Array, Array]]) -> list[Report]:
    return [
        evaluate(truth, image > 127, labels=INFECTION, convention="infnet", probability=image, case=str(number))
        for number, (truth, image) in enumerate(pairs)
    ]


def test_infnet_row_and_summary_match_the_script_written_out() -> None:
    pairs = images(0, 4)
    reports = infnet_reports(pairs)
    curves: dict[str, list[list[float]]] = {"dice": [], "sensitivity": [], "specificity": [], "e": []}
    s_values, maes = [], []
    for truth, given in pairs:
        image = given / 255
        image = (image - image.min()) / (image.max() - image.min())
        cut = [reference.scores(truth, image, t) for t in reference.thresholds()]
        for name in ("dice", "sensitivity", "specificity"):
            curves[name].append([values[name] for values in cut])
        curves["e"].append([reference.e_measure(truth, image >= t) for t in reference.thresholds()])
        s_values.append(reference.s_measure(truth, image))
        maes.append(reference.mean_absolute_error(truth, image))
    columns = {name: np.mean(rows, axis=0) for name, rows in curves.items()}
    found = INFNET.summary(reports)
    keys = {"Dic": "dice", "Sen": "sensitivity", "Spe": "specificity", "Em": "e"}
    for short, name in keys.items():
        assert found[f"mean{short}"] == pytest.approx(columns[name].mean(), abs=1e-12)
        assert found[f"max{short}"] == pytest.approx(columns[name].max(), abs=1e-12)
    assert found["Sm"] == pytest.approx(np.mean(s_values), abs=1e-12)
    assert found["MAE"] == pytest.approx(np.mean(maes), abs=1e-12)
    for number, report in enumerate(reports):
        assert list(report.row) == ["Name", "meanDic", "meanSen", "meanSpe", "Sm", "meanEm", "MAE"]
        assert report.row["Name"] == str(number)
        assert report.row["meanDic"] == pytest.approx(np.mean(curves["dice"][number]), abs=1e-12)
        assert report.row["Sm"] == pytest.approx(s_values[number], abs=1e-12)


def test_infnet_max_of_a_set_is_not_the_mean_of_maxima() -> None:
    reports = infnet_reports(images(1, 3))
    maxima = [report.published.curves.max()["dice"] for report in reports]
    assert INFNET.summary(reports)["maxDic"] < np.mean(maxima)


def test_infnet_summary_takes_each_figure_from_its_own_curve() -> None:
    report = infnet_reports(images(1, 1))[0]
    curves = ThresholdCurves(*(np.linspace(0, top, 256) for top in (0.1, 0.2, 0.3, 0.4, 0.5)))
    adaptive = {"dice": 0.6, "sensitivity": 0.7, "specificity": 0.8, "precision": 0.9}
    published = Saliency(mae=0.11, s_measure=0.12, curves=curves, adaptive=adaptive)
    found = INFNET.summary([dataclasses.replace(report, published=published)])
    assert found == pytest.approx(
        {
            "meanDic": 0.05,
            "meanSen": 0.1,
            "meanSpe": 0.15,
            "Sm": 0.12,
            "meanEm": 0.25,
            "MAE": 0.11,
            "maxDic": 0.1,
            "maxSen": 0.2,
            "maxSpe": 0.3,
            "maxEm": 0.5,
            "adpDic": 0.6,
        }
    )


def test_infnet_volume_weighs_as_many_images_as_it_has_slices() -> None:
    pairs = images(2, 5)
    one_by_one = INFNET.summary(infnet_reports(pairs))
    stack = tuple(np.stack(part) for part in zip(*pairs[:3], strict=True))
    assert INFNET.summary(infnet_reports([(stack[0], stack[1]), *pairs[3:]])) == pytest.approx(one_by_one, abs=1e-12)


def test_infnet_without_a_map_measures_the_mask() -> None:
    truth, image = images(3, 1)[0]
    mask = image > 127
    report = evaluate(truth, mask, labels=INFECTION, convention="infnet")
    as_map = evaluate(truth, mask, labels=INFECTION, convention="infnet", probability=mask.astype(np.float32))
    assert dict(report.row) == dict(as_map.row)
    # Every threshold but t = 0 cuts the mask out.
    both = np.count_nonzero(truth & mask)
    dice = 2 * both / (np.count_nonzero(truth) + np.count_nonzero(mask))
    everywhere = 2 * np.count_nonzero(truth) / (np.count_nonzero(truth) + truth.size)
    assert report.row["meanDic"] == pytest.approx((255 * dice + everywhere) / 256)


def test_infnet_truth_image_is_cut_above_128() -> None:
    image = np.array([[0, 127, 128, 129, 255]], np.uint8)
    assert INFNET.truth_mask(image).tolist() == [[False, False, False, True, True]]
    assert INFNET.truth_mask(image > 0).tolist() == [[False, True, True, True, True]]


# -- miniseg


def test_miniseg_row_and_summary() -> None:
    pairs = [(truth, image > 127) for truth, image in images(4, 4)]
    pairs.append((pairs[0][0], np.zeros_like(pairs[0][0])))
    reports = [evaluate(t, p, labels=INFECTION, convention="miniseg", case=str(n)) for n, (t, p) in enumerate(pairs)]
    assert [list(report.row) for report in reports] == [["Name", "SEN", "SPC", "DSC", "HD"]] * 5
    assert list(reports[4].row.values()) == ["4", 0, 0, 0, 0]
    for (truth, prediction), report in zip(pairs[:4], reports, strict=False):
        assert report.row["DSC"] == pytest.approx(report["infection"].dice)
        assert report.row["SPC"] == pytest.approx(report["infection"].specificity)
        assert report.row["SEN"] == pytest.approx(np.mean(prediction[truth]))
    found = MINISEG.summary(reports)
    assert list(found) == ["mIoU", "SEN", "SPC", "DSC", "HD"]
    for name in ("SEN", "SPC", "DSC", "HD"):
        assert found[name] == pytest.approx(np.mean([report.row[name] for report in reports]))
    truth, prediction = (np.stack(masks) for masks in zip(*pairs, strict=True))
    ious = [(a & b).sum() / (a | b).sum() for a, b in ((truth, prediction), (~truth, ~prediction))]
    assert found["mIoU"] == pytest.approx(np.mean(ious), abs=1e-9)


def test_miniseg_truth_image_is_255_alone() -> None:
    image = np.array([[0, 1, 254, 255]], np.uint8)
    assert MINISEG.truth_mask(image).tolist() == [[False, False, False, True]]


# -- all


@pytest.mark.parametrize("convention", ["infnet", "miniseg"])
@pytest.mark.parametrize("order", ["PIR", "RAS", "ASL", "SRA"])
def test_images_of_a_volume_are_its_axial_slices_however_it_is_stored(order: str, convention: str) -> None:
    generator = np.random.default_rng(0)
    arrays = [generator.random((6, 12, 14)) < 0.3, generator.random((6, 12, 14)) < 0.4, generator.random((6, 12, 14))]
    volumes = [SimpleITK.GetImageFromArray(array * 1.0) for array in arrays]
    for volume in volumes:
        volume.SetSpacing((0.8, 0.9, 2.5))

    def row(images: list[Any]) -> dict[str, Any]:
        chance = images[2] if convention == "infnet" else None
        return dict(evaluate(*images[:2], labels=INFECTION, convention=convention, probability=chance).row)

    expected = row(volumes)
    turned = row([SimpleITK.DICOMOrient(volume, order) for volume in volumes])
    assert turned.pop("Name") == expected.pop("Name")
    assert turned == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("convention", [INFNET, MINISEG], ids=lambda c: c.name)
@pytest.mark.parametrize("names", [[], ["left lung", "infection"]], ids=str)
def test_scripts_of_one_label_refuse_several(convention: Any, names: list[str]) -> None:
    with pytest.raises(ValueRangeError, match=f"labels: got {len(names)} labels, expected one label"):
        convention.columns(names)


@pytest.mark.parametrize("name", list(CONVENTIONS))
def test_summary_of_nothing_is_empty(name: str) -> None:
    assert CONVENTIONS[name].summary([]) == {}


@pytest.mark.parametrize("name", list(CONVENTIONS))
def test_convention_names_its_source(name: str) -> None:
    convention = CONVENTIONS[name]
    assert convention.name == name
    assert "github.com/" in convention.source
    assert ("e723632" in convention.source) == (name == "infnet")  # two revisions of its script differ
    with pytest.raises(TypeError):
        convention.labels["infection"] = 7  # type: ignore[index]
