"""One case or a batch: what a folder is taken for."""

from __future__ import annotations

from pathlib import Path

import dicom_series as series
import pydicom
import pytest
from dicom_files import write_slices

from covfast.errors import FormatError, ValueRangeError
from covfast.io import cases


def dicom(folder: Path, study: str) -> None:
    write_slices(folder, series.plain()[:3])
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = study
        dataset.save_as(path)


def test_cases_of_one_file_or_one_dicom_folder_is_one_case(tmp_path: Path) -> None:
    dicom(tmp_path / "case", "1.2.3")
    assert cases(tmp_path / "case") == {}
    assert cases(next((tmp_path / "case").iterdir())) == {}


def test_cases_of_a_folder_of_images_are_the_images(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.mha", "notes.txt", ".hidden.nii"):
        (tmp_path / name).write_bytes(b"x")
    assert cases(tmp_path) == {"a": tmp_path / "a.mha", "b": tmp_path / "b.nii.gz"}


def test_cases_of_folders_of_several_studies_are_the_folders(tmp_path: Path) -> None:
    dicom(tmp_path / "one", "1.2.3")
    dicom(tmp_path / "two" / "deep", "1.2.4")
    (tmp_path / "empty").mkdir()
    assert cases(tmp_path) == {"one": tmp_path / "one", "two": tmp_path / "two"}


def test_cases_of_series_folders_of_one_study_is_one_case(tmp_path: Path) -> None:
    dicom(tmp_path / "one", "1.2.3")
    dicom(tmp_path / "two", "1.2.3")
    assert cases(tmp_path) == {}


def test_cases_of_images_beside_dicom_raise(tmp_path: Path) -> None:
    dicom(tmp_path / "case", "1.2.3")
    (tmp_path / "a.nii").write_bytes(b"x")
    with pytest.raises(ValueRangeError, match="1 image files beside 1 folders"):
        cases(tmp_path)


def test_cases_of_two_images_of_one_name_raise(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    (tmp_path / "a.mha").write_bytes(b"x")
    with pytest.raises(FormatError, match="one image for each name"):
        cases(tmp_path)
