"""Scans and masks in two folders: names that belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from covfast.errors import FormatError
from covfast.protocols.splits import task2_fold
from covfast.train.systems.cases import case_sides, matched
from covfast.train.systems.transfer import training_cases
from covfast.train.volumes import Case


def folders(root: Path, images: list[str], masks: list[str]) -> tuple[Path, Path]:
    for name in (*(f"images/{name}" for name in images), *(f"masks/{name}" for name in masks)):
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return root / "images", root / "masks"


def test_a_channel_behind_an_image_and_mask_behind_a_mask_do_not_count(tmp_path: Path) -> None:
    cases = matched(*folders(tmp_path, ["a_0000", "b"], ["a", "b_mask"]))
    assert [case.name for case in cases] == ["a", "b"]


def test_a_mask_may_be_called_as_its_image_to_the_letter(tmp_path: Path) -> None:
    cases = matched(*folders(tmp_path, ["a_0000", "b_0000"], ["a_0000", "b"]))
    assert [(case.name, case.image, case.labels) for case in cases] == [
        ("a", tmp_path / "images" / "a_0000.nii.gz", tmp_path / "masks" / "a_0000.nii.gz"),
        ("b", tmp_path / "images" / "b_0000.nii.gz", tmp_path / "masks" / "b.nii.gz"),
    ]


def test_two_masks_of_an_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a_0000\.nii\.gz: got no image"):
        matched(*folders(tmp_path, ["a_0000"], ["a", "a_0000"]))


@pytest.mark.parametrize(("images", "masks"), [(["a"], ["a_0000"]), (["a_mask"], ["a"])])
def test_a_channel_is_no_tail_of_a_mask_nor_the_other_way_round(
    tmp_path: Path, images: list[str], masks: list[str]
) -> None:
    with pytest.raises(FormatError, match=r"got no (mask|image)"):
        matched(*folders(tmp_path, images, masks))


def test_task_2_trains_on_its_training_cases_and_holds_out_its_validation_cases() -> None:
    fold, split = task2_fold("msd"), {"published": "task2-msd", "folds": 1, "fold": 0}
    names = [*fold.train, *fold.test, "lung_999"]
    assert case_sides(names, split) == (list(fold.train), list(fold.test))
    with pytest.raises(FormatError, match=r"lung_003: got no such case, expected 63 cases of task2-msd"):
        case_sides([name for name in names if name != "lung_003"], split)


def test_a_published_source_gives_its_training_cases_alone() -> None:
    fold = task2_fold("nsclc-pe")
    cases = [Case(name, Path(name), Path(name)) for name in (*fold.test, *fold.train)]
    assert [case.name for case in training_cases(cases, "nsclc-pe")] == list(fold.train)
    assert training_cases(cases[len(fold.test) :], "nsclc-pe") == cases[len(fold.test) :]
    with pytest.raises(FormatError, match=r"expected 63 cases of Task 2's nsclc-pe"):
        training_cases(cases[:-1], "nsclc-pe")
