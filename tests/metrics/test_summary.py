"""Sets of reports: figures against NumPy and SciPy, what is left out and counted, the worst cases, and the files."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from covfast.errors import DTypeError, OutputError, ValueRangeError
from covfast.metrics import Report, ReportSet, evaluate
from covfast.metrics.summary import RESAMPLES, SUMMARISED, MetricSummary, bootstrap, summarise

NAN, INF = math.nan, math.inf


def made(case: str, **figures: float) -> Report:
    """A report of the labels "lungs" and "infection", the latter with these figures."""
    truth = np.zeros((4, 6, 6), np.uint8)
    truth[1:3, 1:5, 1:5] = 1
    truth[1:3, 2:4, 2:4] = 3
    labels = {"lungs": (1, 3), "infection": 3}
    whole = evaluate(truth, np.roll(truth, 1, axis=2), (2.0, 1.0, 1.0), labels, 1.0, case=case)
    return replace(whole, labels={**whole.labels, "infection": replace(whole["infection"], **figures)})


def of_dice(*values: float) -> ReportSet:
    return ReportSet(made(f"case {number}", dice=value) for number, value in enumerate(values))


def test_summary_matches_numpy() -> None:
    values = [0.5, 0.75, 0.9, 0.1]
    found = of_dice(*values).summary()["infection"]["dice"]
    assert (found.n, found.n_missing) == (4, 0)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-15)
    assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-15)
    assert found.median == np.median(values)
    assert found.ci_low < found.mean < found.ci_high


def test_bootstrap_matches_a_plain_loop() -> None:
    values = np.random.default_rng(1).normal(size=(7, 2))
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, 7, (RESAMPLES, 7))
    means = np.array([values[rows].mean(axis=0) for rows in drawn])
    np.testing.assert_allclose(bootstrap(values), np.quantile(means, (0.025, 0.975), axis=0), atol=1e-14)


def test_bootstrap_matches_scipy_within_the_noise_of_resampling() -> None:
    values = np.random.default_rng(2).beta(5, 2, 25)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=50_000, random_state=3)
    low, high = bootstrap(values[:, np.newaxis])[:, 0]
    width = high - low
    assert abs(low - theirs.confidence_interval.low) < 0.03 * width
    assert abs(high - theirs.confidence_interval.high) < 0.03 * width


def test_bootstrap_in_chunks_same_as_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=(50, 1))
    whole = bootstrap(values)
    monkeypatch.setattr("covfast.metrics.summary.CHUNK_VALUES", 777)
    np.testing.assert_array_equal(bootstrap(values), whole)


def test_bootstrap_covers_the_mean_nearly_as_often_as_it_says() -> None:
    low, high = bootstrap(np.random.default_rng(5).normal(size=(40, 400)))
    assert 0.88 < float(np.mean((low <= 0) & (high >= 0))) < 0.98


def test_bootstrap_same_seed_same_interval_other_seed_another() -> None:
    values = np.random.default_rng(6).normal(size=(9, 1))
    np.testing.assert_array_equal(bootstrap(values), bootstrap(values))
    assert (bootstrap(values, seed=1) != bootstrap(values)).any()


def test_bootstrap_of_equal_values_is_the_value() -> None:
    np.testing.assert_array_equal(bootstrap(np.full((6, 1), 0.7)), 0.7)


@pytest.mark.parametrize(("scale", "shift"), [(-1.0, 0.0), (1000.0, 0.0), (1.0, 5.0)])
def test_bootstrap_follows_scale_and_shift(scale: float, shift: float) -> None:
    values = np.random.default_rng(7).normal(size=(9, 1))
    expected = np.sort(scale * bootstrap(values) + shift, axis=0)
    np.testing.assert_allclose(bootstrap(scale * values + shift), expected, rtol=1e-12)


def test_undefined_and_infinite_values_are_left_out_and_counted() -> None:
    found = of_dice(0.5, NAN, 0.7, INF, NAN).summary()["infection"]["dice"]
    assert (found.n, found.n_undefined, found.n_infinite, found.n_missing) == (2, 2, 1, 3)
    assert found.mean == pytest.approx(0.6)
    alone = of_dice(0.5, 0.7).summary()["infection"]["dice"]
    assert (found.ci_low, found.ci_high) == (alone.ci_low, alone.ci_high)


def test_columns_with_different_gaps_do_not_touch_each_other() -> None:
    columns = np.random.default_rng(8).normal(size=(12, 3))
    columns[3, 1], columns[4, 2] = NAN, INF
    together = summarise(columns)
    for index in range(3):
        assert summarise(columns[:, [index]])[0] == together[index]


@pytest.mark.parametrize(("values", "n"), [((0.5,), 1), ((NAN,), 0), ((INF, NAN), 0)])
def test_too_few_values_give_no_spread(values: tuple[float, ...], n: int) -> None:
    found = of_dice(*values).summary()["infection"]["dice"]
    assert found.n == n
    assert math.isnan(found.mean) == (n == 0)
    assert all(math.isnan(value) for value in (found.sd, found.ci_low, found.ci_high))


def test_a_label_that_a_report_lacks_counts_as_undefined() -> None:
    whole = made("a", dice=0.5)
    part = replace(whole, case="b", labels={"lungs": whole["lungs"]})
    found = ReportSet([part, whole])
    assert found.labels == ["lungs", "infection"]
    assert found.summary()["infection"]["dice"].n_undefined == 1
    assert found.summary()["lungs"]["dice"].n == 2


def test_an_empty_set_is_empty() -> None:
    found = ReportSet([])
    assert len(found) == 0
    assert found.summary() == {}
    assert found.worst() == []
    assert found.to_dict()["cases"] == []
    assert "0 cases" in str(found)


def test_worst_lowest_dice_first_ties_in_order_of_cases() -> None:
    found = of_dice(0.9, 0.2, NAN, 0.2, 0.5)
    assert [item.case for item in found.worst(3, "infection")] == ["case 1", "case 3", "case 4"]
    assert len(found.worst(99, "infection")) == 4
    assert found.worst(0, "infection") == []


def test_worst_of_distances_is_the_largest_infinite_first() -> None:
    values = {"a": 3.0, "b": INF, "c": 7.5, "d": NAN}
    found = ReportSet(made(case, hausdorff95_mm=value) for case, value in values.items())
    assert [item.case for item in found.worst(9, "infection", "hausdorff95_mm")] == ["b", "c", "a"]


def test_worst_of_volume_differences_takes_either_sign() -> None:
    found = ReportSet(made(case, difference_ml=value) for case, value in {"a": 3.0, "b": -9.0}.items())
    (first,) = found.worst(1, "infection", "difference_ml")
    assert (first.case, first.value) == ("b", -9.0)


def test_worst_over_all_labels_ranks_a_case_by_its_worst() -> None:
    found = of_dice(0.95, 0.3)
    ranked = found.worst(2)
    assert [(item.case, item.label) for item in ranked] == [("case 1", "infection"), ("case 0", "lungs")]


@pytest.mark.parametrize("k", [-1, 1.5, True, "2"])
def test_worst_wrong_count_is_refused(k: object) -> None:
    with pytest.raises(ValueRangeError, match="k: got"):
        of_dice(0.5).worst(k)  # type: ignore[arg-type]


@pytest.mark.parametrize(("label", "metric"), [("liver", "dice"), ("infection", "f2"), ("infection", "__class__")])
def test_unknown_label_or_metric_is_refused(label: str, metric: str) -> None:
    with pytest.raises(ValueRangeError):
        of_dice(0.5).values(label, metric)
    with pytest.raises(ValueRangeError):
        of_dice(0.5).worst(1, label, metric)


def test_wrong_items_are_refused() -> None:
    with pytest.raises(DTypeError, match="reports: got dict"):
        ReportSet([{"dice": 1}])  # type: ignore[list-item]
    with pytest.raises(ValueRangeError, match="one convention"):
        ReportSet([made("a"), replace(made("b"), convention="ctseg")])


def test_cases_that_come_twice_and_mixed_tolerances_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="'a' twice"):
        ReportSet([made("a"), made("b"), made("a")])
    assert ReportSet([made(""), made("")]).cases == ["1", "2"]
    with pytest.raises(ValueRangeError, match=r"tolerances of 1\.0 and 2\.0 mm for 'infection'"):
        ReportSet([made("a"), made("b", tolerance_mm=2.0)])
    ReportSet([made("a", tolerance_mm=NAN), made("b", tolerance_mm=NAN)])


def test_table_names_the_tolerance_and_the_unit() -> None:
    reports = [made("a", tolerance_mm=2.5), made("b", tolerance_mm=2.5)]
    assert "infection, NSD at 2.5 mm " in str(ReportSet(reports))
    text = str(ReportSet(reports, "px"))
    assert "infection, NSD at 2.5 px " in text
    assert " mm" not in text
    with pytest.raises(ValueRangeError, match="unit: got 'cm'"):
        ReportSet(reports, "cm")


def test_a_set_is_a_sequence_that_knows_its_cases() -> None:
    found = of_dice(0.5, 0.7)
    assert found[0] is found["case 0"]
    assert found[-1]["infection"].dice == 0.7
    assert repr(found) == "ReportSet(2 cases of lungs, infection)"
    with pytest.raises(IndexError):
        found[2]
    with pytest.raises(ValueRangeError, match="case: got 'x'"):
        found["x"]


def test_worst_of_the_maps_error_is_the_largest() -> None:
    def with_map(case: str, mae: float) -> Report:
        whole = made(case)
        figures = {"mae": mae, "s_measure": 0.5, "mean": {"dice": 0.5, "e_measure": 0.6}, "max": {"dice": 0.7}}
        return replace(whole, labels={"infection": replace(whole["infection"], probability=figures)})

    found = ReportSet(
        [with_map("a", 0.1), with_map("b", 0.3), replace(made("c"), labels={"lungs": made("c")["lungs"]})]
    )
    assert [item.case for item in found.worst(9, "infection", "mae")] == ["b", "a"]
    assert found.values("infection", "max_dice")[:2].tolist() == [0.7, 0.7]


def test_table_says_what_is_left_out() -> None:
    text = str(of_dice(0.5, NAN, 0.7))
    assert text.startswith("3 cases\n")
    line = next(line for line in text.splitlines() if line.startswith("infection, Dice"))
    assert "0.6000" in line
    assert line.endswith("1 undefined")


def test_convention_adds_its_figures() -> None:
    truth = np.zeros((3, 5, 5), np.uint8)
    truth[1] = 3
    reports = [evaluate(truth, truth, (1.0, 1.0, 1.0), {"infection": 3}, case=c, convention="ctseg") for c in "ab"]
    found = ReportSet(reports)
    assert found.published()["LesionDSC"] == 1.0
    assert "convention ctseg" in str(found)
    assert list(found.rows()[0]) == ["Name", "LesionDSC", "LesionNSD-3mm"]
    assert found.to_dict()["published"]["LesionDSC"] == 1.0


def test_csv_has_a_row_for_each_case_and_label(tmp_path: Path) -> None:
    of_dice(0.5, NAN).save_csv(tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"]) for row in rows[:2]] == [("case 0", "lungs"), ("case 0", "infection")]
    assert len(rows) == 4
    assert float(rows[1]["dice"]) == 0.5
    assert math.isnan(float(rows[3]["dice"]))


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    of_dice(0.5, NAN).save_json(tmp_path / "x.json")

    def refuse(name: str) -> float:
        raise AssertionError(name)

    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert [case["case"] for case in found["cases"]] == ["case 0", "case 1"]
    assert set(found["summary"]["infection"]) == set(SUMMARISED)
    assert MetricSummary(**found["summary"]["infection"]["dice"]).n == 1
    assert found["summary"]["infection"]["dice"]["sd"] is None
    assert "percentile bootstrap" in found["summary_definition"]


def test_file_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    for save in ("save_json", "save_csv", "save_nnunet_summary"):
        with pytest.raises(OutputError):
            getattr(of_dice(0.5), save)(tmp_path / "absent" / "x")
    assert list(tmp_path.iterdir()) == []


def test_nnunet_summary_has_its_layout_and_its_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    reports, confusions = [], []
    for case in ("a", "b", "c"):
        truth, pred = (rng.integers(0, 3, (4, 5, 6)).astype(np.uint8) for _ in range(2))
        if case == "c":
            truth[truth == 2] = pred[pred == 2] = 0
        reports.append(evaluate(truth, pred, (1.0, 1.0, 1.0), {"one": 1, "two": 2, "any": (1, 2)}, case=case))
        masks = [(np.isin(truth, v), np.isin(pred, v)) for v in ((1,), (2,), (1, 2))]
        confusions.append([(int((t & p).sum()), int((~t & p).sum()), int((t & ~p).sum())) for t, p in masks])
    ReportSet(reports).save_nnunet_summary(tmp_path / "s.json", {"a": ("a.nii.gz", "a.mha")})
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert set(found) == {"foreground_mean", "mean", "metric_per_case"}
    assert set(found["mean"]) == {"1", "2", "(1, 2)"}
    first = found["metric_per_case"][0]
    assert (first["reference_file"], first["prediction_file"]) == ("a.nii.gz", "a.mha")
    assert found["metric_per_case"][1]["reference_file"] == "b"
    assert set(first["metrics"]["1"]) == {"Dice", "IoU", "TP", "FP", "FN", "TN", "n_pred", "n_ref"}
    tp, fp, fn = confusions[0][0]
    assert first["metrics"]["1"] == {
        "Dice": 2 * tp / (2 * tp + fp + fn), "IoU": tp / (tp + fp + fn), "TP": tp, "FP": fp, "FN": fn,
        "TN": 120 - tp - fp - fn, "n_pred": tp + fp, "n_ref": tp + fn,
    }  # fmt: skip
    assert math.isnan(found["metric_per_case"][2]["metrics"]["2"]["Dice"])
    means = []
    for label in range(3):
        dices = [2 * c[label][0] / (2 * c[label][0] + c[label][1] + c[label][2] or NAN) for c in confusions]
        means.append(np.nanmean(dices))
    assert [found["mean"][key]["Dice"] for key in ("1", "2", "(1, 2)")] == pytest.approx(means, rel=1e-15)
    assert found["foreground_mean"]["Dice"] == pytest.approx(np.mean(means), rel=1e-15)


def test_nnunet_summary_keeps_labels_of_equal_values_apart() -> None:
    truth = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 3
    labels = {"one": {"truth": 1, "prediction": 1}, "as two": {"truth": 1, "prediction": 2}, "more": 1}
    found = ReportSet([evaluate(truth, truth, (1.0, 1.0, 1.0), labels)])
    from covfast.metrics import nnunet_summary

    assert list(nnunet_summary(found.reports)["mean"]) == ["1", "(1,)", "(1, 1)"]  # as nnU-Net writes regions
