"""Whole folders: the same figures as case by case, one failure alone, grids, cancelling, memory."""

from __future__ import annotations

import math
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_files import (
    SPACING_MM,
    disk,
    geometry,
    lungs_with_infection,
    save_folders,
    save_labels,
    save_picture,
)

from covfast import evaluation as module
from covfast.errors import Cancelled, DTypeError, FormatError, GeometryError, ValueRangeError
from covfast.evaluation import evaluate_folders, merge_lungs
from covfast.io import read_labels, write
from covfast.metrics import evaluate
from covfast.volume import Geometry, Volume

LABELS = {"left lung": 1, "right lung": 2, "infection": 3}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return save_folders(tmp_path)


def test_folders_same_figures_as_case_by_case(folders: tuple[Path, Path]) -> None:
    found = evaluate_folders(*folders)
    assert found.is_complete
    assert found.reports.cases == ["a", "b", "c"]
    for number, report in enumerate(found.reports):
        alone = evaluate(lungs_with_infection(), lungs_with_infection(number), SPACING_MM, LABELS, case="abc"[number])
        assert str(report) == str(alone)
        assert report.to_dict() == alone.to_dict()
    assert found.reports.reports[0]["infection"].tolerance_mm == 3.0
    assert found.reports.reports[0]["left lung"].tolerance_mm == 1.0


def test_threads_do_not_change_results_or_their_order(folders: tuple[Path, Path]) -> None:
    one, three = (evaluate_folders(*folders, threads=threads).reports.to_dict() for threads in (1, 3))
    assert one == three


def test_swapping_reference_and_prediction_swaps_the_sides(folders: tuple[Path, Path]) -> None:
    there, back = (evaluate_folders(*pair).reports for pair in (folders, folders[::-1]))
    for one, other in zip(there, back, strict=True):
        for name in LABELS:
            assert one[name].sensitivity == other[name].precision
            assert one[name].hausdorff95_mm == other[name].hausdorff95_mm
            assert one[name].difference_ml == -other[name].difference_ml


def test_covfast_segments_own_layout_is_found(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for case in "abc":
        target = tmp_path / "out" / case
        target.mkdir(parents=True)
        shutil.copy(folders[1] / f"{case}.nii.gz", target / "labels.nii.gz")
        shutil.copy(folders[1] / f"{case}.nii.gz", target / "lungs.nii.gz")
    assert (
        evaluate_folders(folders[0], tmp_path / "out").reports.to_dict() == evaluate_folders(*folders).reports.to_dict()
    )
    single = evaluate_folders(folders[0] / "b.nii.gz", tmp_path / "out" / "b")
    assert single.reports.cases == ["b"]
    assert single.pairs.is_single


def test_one_bad_file_does_not_stop_the_others(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").write_bytes(b"nothing")
    found = evaluate_folders(*folders, threads=2)
    assert found.reports.cases == ["a", "c"]
    assert [(item.case, type(item.error)) for item in found.failed] == [("b", FormatError)]
    assert not found.is_complete


def test_missing_partners_are_listed(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a.nii.gz").unlink()
    (folders[0] / "c.nii.gz").unlink()
    found = evaluate_folders(*folders)
    assert found.pairs.without_prediction == ("a",)
    assert found.pairs.without_reference == ("c",)
    assert found.reports.cases == ["b"]
    assert not found.is_complete


def test_other_grid_is_refused_for_that_case_alone(folders: tuple[Path, Path]) -> None:
    moved = Geometry.from_spacing(geometry().shape, SPACING_MM, origin_mm=(0.0, 0.0, 2.0))
    save_labels(folders[1] / "b.nii.gz", lungs_with_infection(1), moved)
    found = evaluate_folders(*folders)
    assert [(item.case, type(item.error)) for item in found.failed] == [("b", GeometryError)]
    assert found.resampled == ()


def test_same_grid_in_another_orientation_needs_no_resampling(folders: tuple[Path, Path]) -> None:
    expected = evaluate_folders(*folders).reports.to_dict()
    whole = geometry()
    turned = Geometry(whole.shape, whole.affine @ np.diag([1, -1, -1, 1.0]))
    shift = np.eye(4)
    shift[1, 3], shift[2, 3] = 1 - whole.shape[1], 1 - whole.shape[2]
    turned = Geometry(whole.shape, turned.affine @ shift)
    save_labels(folders[1] / "b.nii.gz", np.ascontiguousarray(lungs_with_infection(1)[:, ::-1, ::-1]), turned)
    found = evaluate_folders(*folders)
    assert found.is_complete
    assert found.reports.to_dict() == expected


def test_resample_puts_the_prediction_onto_the_references_grid(folders: tuple[Path, Path]) -> None:
    expected = evaluate_folders(*folders).reports.to_dict()
    fine = np.repeat(np.repeat(lungs_with_infection(1), 2, axis=1), 2, axis=2)
    affine = geometry().affine @ np.diag([1, 0.5, 0.5, 1])
    affine[:3, 3] = geometry().affine[:3, :3] @ (0, -0.25, -0.25)
    save_labels(folders[1] / "b.nii.gz", fine, Geometry((8, 32, 36), affine))
    assert [item.case for item in evaluate_folders(*folders).failed] == ["b"]
    found = evaluate_folders(*folders, resample=True)
    assert found.resampled == ("b",)
    assert found.reports.to_dict() == expected


def test_lungs_include_infection_is_one_label_of_all_three(folders: tuple[Path, Path]) -> None:
    found = evaluate_folders(*folders, lungs_include_infection=True)
    truth, predicted = lungs_with_infection() > 0, lungs_with_infection(2) > 0
    dice = 2 * np.sum(truth & predicted) / (truth.sum() + predicted.sum())
    report = found.reports.reports[2]
    assert list(report.labels) == ["lungs", "infection"]
    assert report["lungs"].dice == dice
    assert report["lungs"].tolerance_mm == 1.0
    assert report["infection"].tolerance_mm == 3.0


def test_merge_lungs_keeps_other_labels_and_both_sides() -> None:
    labels = {"heart": 9, "left lung": 1, "right lung": {"truth": 2, "prediction": (4, 5)}, "infection": 3}
    assert merge_lungs(labels) == {
        "heart": 9,
        "lungs": {"truth": [1, 2, 3], "prediction": [1, 3, 4, 5]},
        "infection": 3,
    }
    with pytest.raises(ValueRangeError, match="'right lung'"):
        merge_lungs({"left lung": 1, "infection": 3})


def test_values_may_differ_between_the_sides(folders: tuple[Path, Path]) -> None:
    for case in "abc":
        path = folders[1] / f"{case}.nii.gz"
        save_labels(path, np.where(read_labels(path).labels == 3, 200, 0).astype(np.uint8))
    found = evaluate_folders(*folders, labels={"infection": {"truth": 3, "prediction": 200}}, tolerance_mm=2.0)
    assert found.reports.reports[0]["infection"].dice == 1.0
    assert found.reports.reports[0]["infection"].tolerance_mm == 2.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": {"x": 300}},
        {"labels": {"x": 1.5}},
        {"labels": {}},
        {"tolerance_mm": -1.0},
        {"tolerance_mm": {"liver": 1.0}},
        {"convention": "deepmind"},
        {"threads": 0},
        {"threads": 2.5},
        {"labels": {"infection": 3}, "lungs_include_infection": True},
        {"convention": "ctseg", "labels": {"liver": 1}},
        {"convention": "ctseg", "lungs_include_infection": True},
    ],
)
def test_wrong_arguments_are_refused_before_the_work(folders: tuple[Path, Path], wrong: dict[str, Any]) -> None:
    seen: list[int] = []
    with pytest.raises(ValueRangeError):
        evaluate_folders(*folders, progress=lambda *step: seen.append(step[1]), **wrong)
    assert seen == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reference", None), ("prediction", 3), ("probability", 1.5), ("resample", "no"), ("cancel", 1),
        ("lungs_include_infection", "yes"), ("progress", 5),
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_typed_errors(folders: tuple[Path, Path], name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"reference": folders[0], "prediction": folders[1], name: value}
    with pytest.raises(DTypeError, match=f"{name}: got"):
        evaluate_folders(**arguments)


def test_progress_counts_cases(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").write_bytes(b"")
    seen: list[tuple[str, int, int]] = []
    evaluate_folders(*folders, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("evaluate", 3, 3)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_cancel_stops_and_leaves_no_thread(folders: tuple[Path, Path]) -> None:
    before = threading.active_count()
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        evaluate_folders(*folders, cancel=event)
    assert threading.active_count() == before


def test_interruption_in_the_callback_starts_no_further_case(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = module.read_pair

    def counted(pair: Any, *more: Any) -> Any:
        read.append(pair.case)
        return original(pair, *more)

    monkeypatch.setattr(module, "read_pair", counted)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in range(20):
        shutil.copy(folders[0] / "a.nii.gz", folders[0] / f"more{number}.nii.gz")
        shutil.copy(folders[1] / "a.nii.gz", folders[1] / f"more{number}.nii.gz")
    with pytest.raises(KeyboardInterrupt):
        evaluate_folders(*folders, threads=1, progress=interrupt)
    assert len(read) < 23


def test_no_more_cases_in_memory_than_threads(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    lock, inside, most = threading.Lock(), [0], [0]
    original = module._report

    def watched(*args: Any) -> Any:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        try:
            return original(*args)
        finally:
            with lock:
                inside[0] -= 1

    monkeypatch.setattr(module, "_report", watched)
    for number in range(10):
        for folder in folders:
            shutil.copy(folder / "a.nii.gz", folder / f"more{number}.nii.gz")
    evaluate_folders(*folders, threads=2)
    assert most[0] <= 2


def test_pictures_with_the_infnet_convention_score_the_grey_values(tmp_path: Path) -> None:
    truth, grey = disk(20, 24, 9), np.zeros((48, 56), np.uint8)
    grey[disk(22, 26, 9)] = 200
    save_picture(tmp_path / "r" / "a.png", truth.astype(np.uint8) * 255)
    save_picture(tmp_path / "p" / "a.png", grey)
    found = evaluate_folders(tmp_path / "r", tmp_path / "p", convention="infnet")
    (report,) = found.reports
    alone = evaluate(truth, grey >= 128, (1.0, 1.0), {"infection": 1}, convention="infnet", probability=grey)
    assert dict(report.row) | {"Name": ""} == dict(alone.row)
    assert report["infection"].dice == alone["infection"].dice


def test_pictures_of_another_size_are_resized_as_each_convention_does(tmp_path: Path) -> None:
    save_picture(tmp_path / "r" / "a.png", disk(40, 48, 18, (96, 112)).astype(np.uint8) * 255)
    save_picture(tmp_path / "p" / "a.png", disk(20, 24, 9).astype(np.uint8) * 255)
    for convention in ("infnet", "miniseg"):
        found = evaluate_folders(tmp_path / "r", tmp_path / "p", convention=convention)
        assert found.reports.reports[0]["infection"].dice > 0.95
    found = evaluate_folders(tmp_path / "r", tmp_path / "p", labels={"infection": 255})
    assert isinstance(found.failed[0].error, GeometryError)


def test_pictures_without_labels_have_no_meaning(tmp_path: Path) -> None:
    save_picture(tmp_path / "r" / "a.png", disk(20, 24, 9).astype(np.uint8) * 255)
    with pytest.raises(ValueRangeError, match="labels: got None"):
        evaluate_folders(tmp_path / "r", tmp_path / "r")
    found = evaluate_folders(tmp_path / "r", tmp_path / "r", labels={"infection": 255})
    assert found.reports.reports[0]["infection"].hausdorff_mm == 0.0


def test_a_picture_against_a_volume_fails(tmp_path: Path) -> None:
    save_picture(tmp_path / "r" / "a.png", np.zeros((4, 5), np.uint8))
    save_labels(tmp_path / "p" / "a.nii.gz", lungs_with_infection())
    found = evaluate_folders(tmp_path / "r", tmp_path / "p", labels={"infection": 1})
    assert isinstance(found.failed[0].error, FormatError)


def test_probability_maps_add_their_figures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    chance = np.where(lungs_with_infection(1) == 3, 0.75, 0.25).astype(np.float32)
    (tmp_path / "maps").mkdir()
    for case in "ab":
        write(tmp_path / "maps" / f"{case}.nii.gz", Volume(chance, geometry()))
    found = evaluate_folders(*folders, probability=tmp_path / "maps")
    assert found.reports.cases == ["a", "b"]
    assert [item.case for item in found.failed] == ["c"]
    with pytest.raises(ValueRangeError, match="probability"):
        evaluate_folders(*folders, probability=tmp_path / "maps", labels={"left lung": 1, "right lung": 2})
    figures = found.reports.reports[1]["infection"].probability
    assert figures is not None
    alone = evaluate(lungs_with_infection(), lungs_with_infection(1), SPACING_MM, LABELS, probability=chance)
    assert dict(figures) == dict(alone["infection"].probability or {})


def test_masks_are_those_that_were_measured(folders: tuple[Path, Path]) -> None:
    found = evaluate_folders(*folders, lungs_include_infection=True)
    truth, predicted, where = found.masks("c", "lungs")
    assert where is not None
    np.testing.assert_array_equal(truth, lungs_with_infection() > 0)
    np.testing.assert_array_equal(predicted, lungs_with_infection(2) > 0)
    with pytest.raises(ValueRangeError):
        found.masks("c", "liver")
    with pytest.raises(ValueRangeError):
        found.masks("z", "lungs")


def test_empty_masks_are_undefined_and_infinite_not_zero(tmp_path: Path) -> None:
    healthy = np.where(lungs_with_infection() == 3, 1, lungs_with_infection()).astype(np.uint8)
    for case, truth, predicted in (("both", healthy, healthy), ("one", lungs_with_infection(), healthy)):
        save_labels(tmp_path / "r" / f"{case}.nii.gz", truth)
        save_labels(tmp_path / "p" / f"{case}.nii.gz", predicted)
    found = evaluate_folders(tmp_path / "r", tmp_path / "p").reports.summary()["infection"]
    assert (found["dice"].n, found["dice"].n_undefined, found["dice"].mean) == (1, 1, 0.0)
    assert (found["hausdorff95_mm"].n, found["hausdorff95_mm"].n_infinite) == (0, 2)
    assert math.isnan(found["hausdorff95_mm"].mean)


def test_inputs_stay_as_they_are(folders: tuple[Path, Path]) -> None:
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    evaluate_folders(*folders)
    assert {path: path.read_bytes() for folder in folders for path in folder.iterdir()} == before
