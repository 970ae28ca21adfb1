"""What a folder holds of a data set: complete, missing, extra, corrupt, mismatched, of other labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_files import lungs_with_infection, save_labels, save_picture
from protocol_folders import SEMISEG_TRAIN, SMALL, image_of, save_ctseg, save_image, save_semiseg, save_slices

from covfast.errors import FormatError, GeometryError, ValueRangeError
from covfast.protocols import PROTOCOLS, check, find, part
from covfast.protocols.datasets import CORRUPT, COUNT, DOUBLE, EXTRA, LABELS, MISMATCHED, MISSING
from covfast.protocols.describing import MOST, describe_part, describe_problems
from covfast.protocols.splits import ctseg_cases, semiseg_slices

INFECTION = part("ctseg", "infection")
CASES = ctseg_cases()
MASKS = Path("COVID-19-CT-Seg/Infection_Mask")
IMAGES = Path("COVID-19-CT-Seg/COVID-19-CT-Seg_20cases")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return save_ctseg(tmp_path / "data")


def kinds(found) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for problem in found.problems:
        result.setdefault(problem.kind, []).append(problem.case)
    return result


def test_a_complete_folder_has_no_problem(root: Path) -> None:
    found = check(find(INFECTION, root))
    assert found.is_complete
    assert found.problems == ()
    assert tuple(found.cases) == tuple(sorted(CASES))
    assert "20 usable cases, complete" in describe_problems(found)


def test_the_data_sets_own_folder_may_be_given_too(root: Path) -> None:
    assert find(INFECTION, root / "COVID-19-CT-Seg").is_complete


def test_the_joint_masks_serve_where_the_infections_own_are_missing(tmp_path: Path) -> None:
    root = save_ctseg(tmp_path, masks="Lung_and_Infection_Mask")
    assert find(INFECTION, root).is_complete
    assert not find(part("ctseg", "lung"), root).is_complete  # there the lungs lack the infection


def test_missing_and_extra_cases_are_named(root: Path) -> None:
    (root / MASKS / f"{CASES[3]}.nii.gz").unlink()
    (root / IMAGES / f"{CASES[12]}.nii.gz").unlink()
    for folder in (MASKS, IMAGES):
        (root / folder / "stranger.nii.gz").write_bytes((root / folder / f"{CASES[0]}.nii.gz").read_bytes())
    found = find(INFECTION, root)
    assert kinds(found) == {MISSING: [CASES[12], CASES[3]], EXTRA: ["stranger"]}
    assert len(found.cases) == 18
    assert [str(p.error).split(",")[0] for p in found.problems[:2]] == [
        f"{CASES[12]}: got no image",
        f"{CASES[3]}: got no mask",
    ]
    assert not found.is_complete


def test_an_extra_case_alone_does_not_make_a_folder_incomplete(root: Path) -> None:
    for folder in (MASKS, IMAGES):
        (root / folder / "stranger.nii.gz").write_bytes((root / folder / f"{CASES[0]}.nii.gz").read_bytes())
    assert find(INFECTION, root).is_complete


@pytest.mark.parametrize("folder", [MASKS, IMAGES])
def test_a_file_of_no_case_on_one_side_is_extra(root: Path, folder: Path) -> None:
    (root / folder / "stranger.nii.gz").touch()
    found = find(INFECTION, root)
    assert kinds(found) == {EXTRA: ["stranger"]}
    assert found.is_complete


def test_published_images_without_a_mask_are_not_extra(tmp_path: Path) -> None:
    for name in (
        "studies/CT-1/study_0900",
        "studies/CT-1/study_0255",
        "masks/study_0255_mask",
        "masks/study_0901_mask",
    ):
        path = tmp_path / "MosMed" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert kinds(find(part("mosmed", "infection"), tmp_path))[EXTRA] == ["study_0901_mask"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [(MASKS, "{}_mask.nii.gz"), (MASKS, "{}.nii"), (IMAGES, "{}_0000.nii.gz"), (IMAGES, "{}.mha")],
)
def test_a_second_file_of_a_case_takes_the_case_out(root: Path, folder: Path, name: str) -> None:
    second = name.format(CASES[0])
    (root / folder / second).touch()
    found = find(INFECTION, root)
    assert kinds(found) == {DOUBLE: [CASES[0]]}
    assert not found.is_complete
    assert CASES[0] not in found.cases
    assert len(found.cases) == 19
    text = str(found.problems[0].error)
    assert second in text
    assert f"{CASES[0]}.nii.gz" in text


def test_a_second_file_of_a_slice_takes_the_slice_out(tmp_path: Path) -> None:
    root = save_semiseg(tmp_path)
    (root / "COVID-SemiSeg/TestingSet/LungInfection-Test/Imgs/5.png").touch()
    found = find(part("semiseg", "test"), root)
    assert kinds(found) == {DOUBLE: ["5"]}
    assert "5" not in found.cases


@pytest.mark.parametrize("folder", [MASKS, IMAGES])
def test_a_corrupt_file_is_named_and_left_out(root: Path, folder: Path) -> None:
    path = root / folder / f"{CASES[1]}.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    found = check(find(INFECTION, root))
    assert kinds(found) == {CORRUPT: [CASES[1]]}
    assert CASES[1] not in found.cases
    assert isinstance(found.problems[0].error, FormatError)
    assert f"{CASES[1]}.nii.gz" in str(found.problems[0].error)


def test_another_grid_is_a_mismatch(root: Path) -> None:
    save_labels(root / MASKS / f"{CASES[2]}.nii.gz", np.zeros((7, 16, 18), np.uint8))
    found = check(find(INFECTION, root))
    assert kinds(found) == {MISMATCHED: [CASES[2]]}
    assert isinstance(found.problems[0].error, GeometryError)


def test_labels_outside_the_protocol_are_named(root: Path) -> None:
    labels = lungs_with_infection()
    labels[0, 0, 0] = 7
    save_labels(root / MASKS / f"{CASES[2]}.nii.gz", labels)
    found = check(find(INFECTION, root))
    assert kinds(found) == {LABELS: [CASES[2]]}
    assert isinstance(found.problems[0].error, ValueRangeError)
    assert f"{CASES[2]}.nii.gz: got the labels 2, 3, 7" in str(found.problems[0].error)


def test_each_folder_of_masks_has_its_values(tmp_path: Path) -> None:
    root = save_ctseg(tmp_path / "a")
    save_labels(root / MASKS / f"{CASES[5]}.nii.gz", lungs_with_infection())  # the joint mask in the wrong place
    assert kinds(check(find(INFECTION, root))) == {LABELS: [CASES[5]]}
    joint = save_ctseg(tmp_path / "b", masks="Lung_and_Infection_Mask")
    found = check(find(INFECTION, joint))
    assert found.is_complete
    assert found.is_checked
    assert (find(INFECTION, root).part.values, found.part.values) == ({0, 1}, {0, 1, 2, 3})


def test_the_parts_of_a_data_set_are_told_apart() -> None:
    texts = [describe_part(part("semiseg", name)) for name in ("train", "test")]
    assert [text.splitlines()[0] for text in texts] == ["COVID-SemiSeg, train", "COVID-SemiSeg, test"]
    assert "48 slices by any names" in texts[1]
    assert "Infection_Mask/  CASE.nii.gz, labels 0, 1\n" in describe_part(INFECTION)
    assert "or Lung_and_Infection_Mask/  CASE.nii.gz, labels 0, 1, 2, 3" in describe_part(INFECTION)


def test_intensities_must_be_hu_or_the_published_window(root: Path) -> None:
    labels = lungs_with_infection()
    hu = image_of("coronacases", labels)
    save_image(root / IMAGES / "radiopaedia_4_85506_1.nii.gz", hu)  # not windowed, as the published case is
    found = check(find(INFECTION, root))
    assert kinds(found) == {CORRUPT: ["radiopaedia_4_85506_1"]}


def test_nnunets_channel_and_mosmeds_mask_names_are_understood(tmp_path: Path) -> None:
    labels = lungs_with_infection()
    save_image(tmp_path / "COVID1/studies/CT-1/study_0255.nii.gz", image_of("study", labels))
    save_labels(tmp_path / "COVID1/masks/study_0255_mask.nii.gz", (labels == 3).astype(np.uint8))
    found = find(part("mosmed", "infection"), tmp_path / "COVID1")
    assert list(found.cases) == ["study_0255"]
    assert len(kinds(found)[MISSING]) == 98
    text = describe_problems(found)
    assert f"and {98 - MOST} more" in text
    assert text.count("\n") < 12


def test_an_empty_folder_lacks_both_folders(tmp_path: Path) -> None:
    found = find(INFECTION, tmp_path)
    assert [str(p.error) for p in found.problems] == [
        "COVID-19-CT-Seg: got no images, expected a folder COVID-19-CT-Seg/COVID-19-CT-Seg_20cases",
        "COVID-19-CT-Seg: got no masks, expected a folder COVID-19-CT-Seg/Infection_Mask",
    ]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nowhere"):
        find(INFECTION, tmp_path / "nowhere")


@pytest.mark.parametrize(("count", "expected"), [(48, {}), (47, {COUNT: ["COVID-SemiSeg"]})])
def test_semiseg_is_known_by_its_number_of_slices(tmp_path: Path, count: int, expected: dict) -> None:
    found = check(find(part("semiseg", "test"), save_semiseg(tmp_path, range(count))))
    assert kinds(found) == expected
    assert len(found.cases) == count


def test_training_slices_of_semiseg_are_known_by_name(tmp_path: Path) -> None:
    names = semiseg_slices()
    root = save_semiseg(tmp_path, ["copy", *names[1:]], SEMISEG_TRAIN)
    found = find(part("semiseg", "train"), root)
    assert kinds(found) == {MISSING: [names[0]] * 2, EXTRA: ["copy"]}
    assert sorted(found.cases) == sorted(names[1:])


def test_masks_of_semisegs_training_slices_hold_two_values(tmp_path: Path) -> None:
    root = save_semiseg(tmp_path, semiseg_slices(), SEMISEG_TRAIN)
    assert check(find(part("semiseg", "train"), root)).is_complete
    save_picture(root / "COVID-SemiSeg" / SEMISEG_TRAIN / "GT/5.png", np.full(SMALL, 7, np.uint8))
    assert kinds(check(find(part("semiseg", "train"), root))) == {LABELS: ["5"]}


@pytest.mark.parametrize("name", ["train", "classes-train"])
def test_semisegs_training_set_is_complete(data_dir: Path, name: str) -> None:
    found = check(find(part("semiseg", name), data_dir))
    assert found.problems == ()
    assert len(found.cases) == 50


@pytest.mark.parametrize("data", ["ct100", "p9"])
def test_a_licence_that_is_not_known_is_said_so(data: str) -> None:
    assert "licence  not known to us; ask the source" in describe_part(part(data, "slices"))


def test_a_slice_of_another_size_than_its_mask_is_a_mismatch(tmp_path: Path) -> None:
    root = save_semiseg(tmp_path)
    save_picture(root / "COVID-SemiSeg/TestingSet/LungInfection-Test/GT/5.png", np.zeros((9, 9), np.uint8))
    assert kinds(check(find(part("semiseg", "test"), root))) == {MISMATCHED: ["5"]}


def test_miniseg_slices_are_counted_by_fold_and_volume(tmp_path: Path) -> None:
    names = [f"7_{number:04}" for number in range(9)] + [f"2_{number:04}" for number in range(13)] + ["8_0001"]
    found = find(part("p9", "slices"), save_slices(tmp_path, "COVID-19-P9", names))
    problems = kinds(found)
    assert "2" in problems[COUNT]
    assert "7" not in problems[COUNT]
    assert "COVID-19-P9, fold 0" in problems[COUNT]
    assert "COVID-19-P9, fold 3" not in problems[COUNT]
    assert problems[EXTRA] == ["8"]


def test_masks_of_miniseg_hold_two_values(tmp_path: Path) -> None:
    root = save_slices(tmp_path, "COVID-19-CT100", ["tr_im_0000"])
    save_picture(root / "COVID-19-CT100/GT/tr_im_0000.png", np.full(SMALL, 7, np.uint8))
    assert kinds(check(find(part("ct100", "slices"), root)))[LABELS] == ["tr_im_0000"]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_every_part_states_its_tree_source_and_licence(protocol) -> None:
    for key in protocol.parts():
        wanted = part(*key)
        text = describe_part(wanted)
        assert wanted.url.startswith("http")
        for piece in (wanted.url, wanted.licence, wanted.folders[0], *wanted.images, *wanted.truths):
            assert piece in text


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="ctseg"):
        part("ctseg", "trachea")
