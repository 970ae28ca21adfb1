"""Protocols on tiny data: figures as `evaluate` gives them, what makes them not comparable, and the JSON."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from label_files import SPACING_MM, disk, lungs_with_infection, save_labels, save_picture
from PIL import Image
from protocol_folders import (
    SEMISEG_TRAIN,
    SMALL,
    image_of,
    save_ctseg,
    save_image,
    save_predictions,
    save_semiseg,
    save_slices,
)

from covfast.errors import FormatError, ValueRangeError
from covfast.metrics import evaluate
from covfast.metrics.saliency import saliency
from covfast.protocols import PROTOCOLS, FolderSource, Options, check, find, part, run
from covfast.protocols.predict import CODES, bilinear, coding, windowed
from covfast.protocols.splits import ctseg_cases, miniseg_counts, semiseg_slices
from covfast.volume import Geometry, Volume

TASK1, UNION = PROTOCOLS["task1-infection"], PROTOCOLS["task1-union"]
SCHEMA = json.loads(resources.files("covfast").joinpath("schemas/benchmark.schema.json").read_text(encoding="utf-8"))


def run_on(protocol, root: Path, predictions: Path, test: str | None = None, **how):
    tested = protocol.set_called(test)
    source = FolderSource(predictions, tested)
    result = run(protocol, tested, find(part(tested.data, tested.part), root), source, Options(threads=1, **how))
    jsonschema.validate(json.loads(json.dumps(result.to_dict("covfast benchmark"))), SCHEMA)
    return result


def folds_of_predictions(root: Path, shifts: tuple[int, ...] = (0, 1, 2, 1, 0)) -> Path:
    for fold, shift in zip(TASK1.sets[0].folds, shifts, strict=True):
        save_predictions(root / f"fold_{fold.number}", fold.test, shift)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return save_ctseg(tmp_path / "data")


def test_figures_are_those_of_every_case_and_fold(data: Path, tmp_path: Path) -> None:
    result = run_on(TASK1, data, folds_of_predictions(tmp_path / "p"))
    alone = {
        shift: evaluate(lungs_with_infection(), lungs_with_infection(shift), SPACING_MM, {"infection": 3}, 3.0)
        for shift in range(3)
    }
    dice = [alone[shift]["infection"].dice for shift in (0, 1, 2, 1, 0) for _ in range(16)]
    nsd = [alone[shift]["infection"].nsd for shift in (0, 1, 2, 1, 0) for _ in range(16)]
    assert result.figures["LesionDSC"] == pytest.approx(np.mean(dice))
    assert result.figures["LesionDSC SD"] == pytest.approx(np.std(dice, ddof=1))
    assert result.figures["LesionNSD-3mm"] == pytest.approx(np.mean(nsd))
    assert [len(fold.reports) for fold in result.folds] == [16] * 5
    assert result.folds[2].figures["LesionDSC"] == pytest.approx(alone[2]["infection"].dice)
    assert result.is_comparable
    assert result.is_complete
    assert "not comparable" not in str(result)
    assert "67.3 ± 22.3" in str(result)
    of_fold = result.to_dict()["folds"][0]["published"][0]
    assert of_fold["differences"]["LesionDSC"] == pytest.approx(1 - 0.6808)


def test_one_fold_is_compared_with_that_fold(data: Path, tmp_path: Path) -> None:
    result = run_on(TASK1, data, folds_of_predictions(tmp_path / "p"), folds=[3])
    assert result.is_comparable
    assert [row.fold for row in result.rows] == [3]
    assert not run_on(TASK1, data, tmp_path / "p", folds=[3, 4]).is_comparable


def test_one_folder_for_folds_that_test_the_same_cases_is_not_comparable(data: Path, tmp_path: Path) -> None:
    result = run_on(TASK1, data, save_predictions(tmp_path / "p", ctseg_cases()))
    assert not result.is_comparable
    assert "one folder" in result.reasons[0]
    assert "not comparable: one folder" in str(result)
    assert "difference" not in str(result)
    assert all(row["differences"] is None for row in result.to_dict()["published"])
    # In the "82" variant each case is tested once.
    assert run_on(PROTOCOLS["task1-82-infection"], data, tmp_path / "p").is_comparable


def test_missing_data_and_predictions_are_named_and_not_comparable(data: Path, tmp_path: Path) -> None:
    predictions = folds_of_predictions(tmp_path / "p")
    gone, unpredicted, broken = TASK1.sets[0].folds[0].test[:3]
    (data / f"COVID-19-CT-Seg/Infection_Mask/{gone}.nii.gz").unlink()
    (predictions / f"fold_0/{unpredicted}.nii.gz").unlink()
    (predictions / f"fold_0/{broken}.nii.gz").write_bytes(b"nothing")
    result = run_on(TASK1, data, predictions, folds=[0])
    fold = result.folds[0]
    assert fold.missing == (gone,)
    assert set(fold.failed) == {broken}
    assert fold.unpredicted == (unpredicted,)
    assert f"{broken}.nii.gz" in str(fold.failed[broken])
    assert len(fold.reports) == 13
    assert not result.is_complete
    assert result.reasons == ("1 case missing", "2 cases not measured")


def test_a_case_with_two_masks_is_not_measured(data: Path, tmp_path: Path) -> None:
    case = TASK1.sets[0].folds[0].test[0]
    (data / f"COVID-19-CT-Seg/Infection_Mask/{case}_mask.nii.gz").touch()
    result = run_on(TASK1, data, folds_of_predictions(tmp_path / "p"), folds=[0])
    fold = result.folds[0]
    assert fold.missing == ()
    assert set(fold.failed) == {case}
    assert f"{case}_mask.nii.gz" in str(fold.failed[case])
    assert not result.is_complete
    assert not result.is_comparable


def test_values_of_labels_are_found_over_all_files(tmp_path: Path) -> None:
    # Truths 1, 2, 3 and predictions of which the first holds no infection: its highest label alone would mislead.
    root = save_ctseg(tmp_path / "data", masks="Lung_and_Infection_Mask")
    cases = ctseg_cases()
    predictions = save_predictions(tmp_path / "p", cases, only_infection=False)
    empty = lungs_with_infection()
    empty[empty == 3] = 1
    save_labels(predictions / f"{cases[0]}.nii.gz", empty)
    result = run_on(PROTOCOLS["task1-82-infection"], root, predictions)
    assert result.figures["LesionDSC"] == pytest.approx(19 / 20)


@pytest.mark.parametrize(("highest", "expected"), [(0, 1), (1, 1), (3, 3)])
def test_coding_follows_the_highest_label(highest: int, expected: int) -> None:
    assert coding(highest, ("infection",)) == {"infection": expected}
    assert coding(highest, ("left lung", "right lung")) == {"left lung": 1, "right lung": 2}


@pytest.mark.parametrize(
    ("highest", "targets"),
    [(2, ("infection",)), (255, ("infection",)), (4, ("left lung", "right lung")), (1, UNION.sets[0].targets)],
)
def test_values_that_the_targets_cannot_have_are_refused(highest: int, targets: tuple[str, ...]) -> None:
    with pytest.raises(ValueRangeError, match=rf"case.nii.gz: got the label {highest}"):
        coding(highest, targets, "case.nii.gz")


def test_a_stray_voxel_in_one_mask_costs_that_case_alone(data: Path, tmp_path: Path) -> None:
    case = TASK1.sets[0].folds[0].test[4]
    labels = (lungs_with_infection() == 3).astype(np.uint8)
    labels[0, 0, 0] = 2
    save_labels(data / f"COVID-19-CT-Seg/Infection_Mask/{case}.nii.gz", labels)
    result = run_on(TASK1, data, folds_of_predictions(tmp_path / "p"), folds=[0])
    fold = result.folds[0]
    assert "the labels 2" in str(fold.failed[case])
    assert fold.missing == ()
    assert len(fold.reports) == 15
    assert result.figures["LesionDSC"] == 1.0
    assert result.reasons == ("1 case not measured",)


def test_masks_of_other_values_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    infection = (lungs_with_infection() == 3).astype(np.uint8)
    save_image(tmp_path / "MosMed/studies/CT-1/study_0255.nii.gz", image_of("study", lungs_with_infection()))
    save_labels(tmp_path / "MosMed/masks/study_0255_mask.nii.gz", infection * 255)
    save_labels(tmp_path / "p/study_0255.nii.gz", infection)
    with pytest.raises(FormatError, match=r"no usable case.*study_0255_mask.nii.gz: got the labels 255"):
        run_on(TASK1, tmp_path, tmp_path / "p", "mosmed")


def test_joint_masks_without_an_infection_are_not_comparable(tmp_path: Path) -> None:
    root = save_ctseg(tmp_path / "data", masks="Lung_and_Infection_Mask")
    for case in ctseg_cases():  # the infection alone, where 3 would be one
        labels = (lungs_with_infection() == 3).astype(np.uint8)
        save_labels(root / f"COVID-19-CT-Seg/Lung_and_Infection_Mask/{case}.nii.gz", labels)
    result = run_on(PROTOCOLS["task1-82-infection"], root, save_predictions(tmp_path / "p", ctseg_cases()))
    assert result.reasons == ("infection occurs in no mask",)


def test_checked_data_are_not_read_again(data: Path, tmp_path: Path, monkeypatch) -> None:
    tested = TASK1.sets[0]
    found = check(find(part(tested.data, tested.part), data))
    monkeypatch.setattr("covfast.protocols.running.check", None)
    source = FolderSource(folds_of_predictions(tmp_path / "p"), tested)
    assert run(TASK1, tested, found, source, Options(folds=[3], threads=1)).is_comparable


def test_predicted_values_that_cannot_be_the_infection_are_refused(data: Path, tmp_path: Path) -> None:
    predictions = folds_of_predictions(tmp_path / "p")
    labels = (lungs_with_infection() == 3).astype(np.uint8)
    labels[0, 0, 0] = 2
    case = TASK1.sets[0].folds[2].test[1]
    save_labels(predictions / f"fold_2/{case}.nii.gz", labels)
    with pytest.raises(ValueRangeError, match=rf"{case}.nii.gz: got the label 2"):
        run_on(TASK1, data, predictions)


def test_values_of_predictions_are_found_over_all_folds(data: Path, tmp_path: Path) -> None:
    # Joint label maps; those of fold 0 hold the left lung alone, whose 1 is no infection.
    alone = np.where(lungs_with_infection() == 2, 0, lungs_with_infection()).clip(0, 1).astype(np.uint8)
    protocol = PROTOCOLS["task1-82-infection"]
    for fold in protocol.sets[0].folds:
        folder = save_predictions(tmp_path / f"p/fold_{fold.number}", fold.test, only_infection=False)
        for case in fold.test if fold.number == 0 else ():
            save_labels(folder / f"{case}.nii.gz", alone)
    result = run_on(protocol, data, tmp_path / "p")
    assert [fold.figures["LesionDSC"] for fold in result.folds] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert run_on(protocol, data, tmp_path / "p", folds=[0]).figures["LesionDSC"] == 0.0


def test_the_joint_protocol_measures_three_labels(tmp_path: Path) -> None:
    root = save_ctseg(tmp_path / "data", masks="Lung_and_Infection_Mask")
    predictions = save_predictions(tmp_path / "p", ctseg_cases(), only_infection=False)
    result = run_on(UNION, root, predictions, folds=[1])
    assert result.figures["L-lungDSC"] == result.figures["R-lungDSC"] == result.figures["LesionDSC"] == 1.0


def test_lungs_of_a_batch_of_ours_are_its_lungs_file(tmp_path: Path) -> None:
    root = save_ctseg(tmp_path / "data", masks="Lung_Mask")
    labels = lungs_with_infection()
    for case in ctseg_cases():
        save_labels(tmp_path / "p" / case / "labels.nii.gz", labels)
        save_labels(tmp_path / "p" / case / "lungs.nii.gz", np.where(labels == 3, 1, labels).astype(np.uint8))
    assert run_on(PROTOCOLS["task1-lung"], root, tmp_path / "p", folds=[0]).figures["L-lungDSC"] == 1.0


def test_semiseg_follows_the_published_measures(tmp_path: Path) -> None:
    root = save_semiseg(tmp_path / "data")
    found = []
    for number in range(48):
        grey = np.where(disk(20, 25, 7, SMALL), 180, 20).astype(np.uint8)
        save_picture(tmp_path / "p" / f"{number}.png", grey)
        found.append(saliency(disk(20 + number % 5, 25, 8, SMALL), grey))
    result = run_on(PROTOCOLS["semiseg"], root, tmp_path / "p")
    assert result.is_comparable
    assert result.figures["meanDic"] == pytest.approx(np.mean([one.curves.mean()["dice"] for one in found]))
    assert result.figures["MAE"] == pytest.approx(np.mean([one.mae for one in found]))
    models = [row.model for row in result.rows]
    assert "Semi-Inf-Net" in models
    assert "unverified" in str(result)


def test_training_slices_stand_beside_the_table_but_are_not_comparable(tmp_path: Path) -> None:
    save_semiseg(tmp_path, semiseg_slices(), SEMISEG_TRAIN)
    folder = tmp_path / "COVID-SemiSeg" / SEMISEG_TRAIN / "GT"
    result = run_on(PROTOCOLS["semiseg"], tmp_path, folder, "train")
    assert result.figures["meanDic"] > 0.99
    assert result.rows
    assert not result.is_comparable
    assert "not comparable" in str(result)


def test_classes_are_measured_apart(tmp_path: Path) -> None:
    base = tmp_path / "COVID-SemiSeg/TestingSet/MultiClassInfection-Test"
    for number in range(48):
        ggo, solid = disk(12, 20, 8, SMALL), disk(36, 40, 6, SMALL)
        save_picture(base / "Imgs" / f"{number}.jpg", np.zeros(SMALL, np.uint8))
        save_picture(base / "GT" / f"{number}.png", (38 * ggo + 75 * solid).astype(np.uint8))
        save_picture(tmp_path / "p" / f"{number}.png", np.where(solid, 255, 0).astype(np.uint8))
    assert run_on(PROTOCOLS["semiseg-consolidation"], tmp_path, tmp_path / "p").figures["meanDic"] > 0.99
    assert run_on(PROTOCOLS["semiseg-ggo"], tmp_path, tmp_path / "p").figures["meanDic"] < 0.1


def test_miniseg_is_the_mean_of_its_folds(tmp_path: Path) -> None:
    names = [case for group in miniseg_counts("ct100") for case in group]
    root = save_slices(tmp_path, "COVID-19-CT100", names)
    last = set(miniseg_counts("ct100")[4])  # 19 images, the other folds have 20
    for name in names:
        mask = disk(20, 25, 8 - 3 * (name in last), SMALL)
        save_picture(tmp_path / "p" / f"{name}.png", np.where(mask, 255, 0).astype(np.uint8))
    result = run_on(PROTOCOLS["miniseg-ct100"], root, tmp_path / "p")
    figures = [fold.figures["DSC"] for fold in result.folds]
    assert figures[:4] == [1.0] * 4
    assert figures[4] < 0.8
    assert result.figures["DSC"] == pytest.approx(np.mean(figures))
    assert result.is_comparable
    assert "(*)" in str(result)


def test_masks_of_a_palette_are_read_by_the_grey_of_their_colours(tmp_path: Path) -> None:
    base = tmp_path / "COVID-SemiSeg/TestingSet/MultiClassInfection-Test"
    ggo, solid = disk(12, 20, 8, SMALL), disk(36, 40, 6, SMALL)
    save_picture(base / "Imgs/0.jpg", np.zeros(SMALL, np.uint8))
    mask = Image.fromarray((1 * ggo + 2 * solid).astype(np.uint8))
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    (base / "GT").mkdir()
    mask.save(base / "GT/0.png")
    save_picture(tmp_path / "p/0.png", np.where(ggo, 255, 0).astype(np.uint8))
    assert len(check(find(part("semiseg", "classes-test"), tmp_path)).cases) == 1
    assert run_on(PROTOCOLS["semiseg-ggo"], tmp_path, tmp_path / "p").figures["meanDic"] > 0.99


def test_predictions_of_other_names_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="called like the cases"):
        run_on(TASK1, data, save_predictions(tmp_path / "p", ("patient",)))


def test_no_case_at_all_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(FormatError, match="COVID-19-CT-Seg"):
        run_on(TASK1, tmp_path, tmp_path / "p")


def test_wrong_folds_sets_and_folders_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="0, 1, 2, 3, 4"):
        run_on(TASK1, data, folds_of_predictions(tmp_path / "p"), folds=[5])
    with pytest.raises(ValueRangeError, match="'covid' or 'mosmed'"):
        TASK1.set_called("source")
    with pytest.raises(FormatError, match="nowhere"):
        FolderSource(tmp_path / "nowhere", TASK1.sets[0])


def test_the_window_of_the_benchmark() -> None:
    hu = np.array([-3000, -1250, -500, 250, 900], np.int16).reshape(1, 1, 5)
    volume = Volume(hu, Geometry.from_spacing(hu.shape, (1.0, 1.0, 1.0)))
    assert windowed(volume).arrays[0].ravel().tolist() == [0.0, 0.0, 127.5, 255.0, 255.0]


@pytest.mark.parametrize("shape", [(512, 512), (300, 400), (7, 600), (1, 1)])
def test_bilinear_keeps_constants_and_equal_sizes(shape: tuple[int, int]) -> None:
    assert (bilinear(np.full(shape, 77, np.uint8), 512) == 77).all()
    image = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
    assert (bilinear(image, 512) == image).all()
    ramp = bilinear(np.array([[0, 100]], np.uint8), 4)  # pixel centres at 1/4 and 3/4
    assert ramp[0].tolist() == [0, 25, 75, 100]


def test_codes_are_those_of_our_label_maps() -> None:
    assert dict(CODES) == {"left lung": 1, "right lung": 2, "infection": 3}
