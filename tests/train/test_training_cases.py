"""Scans and masks in two folders: names that belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from covfast.errors import FormatError
from covfast.train.systems.cases import matched


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
