"""Real scans. Oracles: SimpleITK's own readers, slice by slice and file by file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from covfast.io import inspect, read, read_labels

sitk = pytest.importorskip("SimpleITK")

PATIENT = "MIDRC-RICORD-1A"
MAX_SECONDS = 12.0  # least of all: a quiet machine with 2 cores takes about 1.5


def test_whole_chest_ct_reads_like_every_slice_alone(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "ricord_1a_series"
    start = time.perf_counter()
    volume = read(folder)
    assert time.perf_counter() - start < MAX_SECONDS
    assert volume.hu.shape == (248, 512, 512)
    assert volume.hu.dtype == np.int16
    assert volume.geometry.spacing_mm == pytest.approx((1.25, 0.703125, 0.703125))
    assert volume.geometry.orientation == "SPL"
    assert [note["code"] for note in volume.notes] == ["PADDING_TO_AIR"]
    files = sorted(folder.glob("*.dcm"))
    for path in files[:: len(files) // 10]:
        image = sitk.ReadImage(str(path))
        plane = sitk.GetArrayFromImage(image)[0]
        index = round((image.GetOrigin()[2] - volume.geometry.affine[2, 3]) / 1.25)
        np.testing.assert_array_equal(volume.hu[index], np.where(plane <= -2000, -1024, plane))
        np.testing.assert_allclose(volume.geometry.affine[:2, 3], image.GetOrigin()[:2], atol=1e-6)


def test_whole_chest_ct_agrees_with_the_series_reader(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "ricord_slab"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = read(folder)
    array = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(volume.hu, np.where(array <= -2000, -1024, array))
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.geometry.spacing_mm[::-1], image.GetSpacing(), atol=1e-6)


@pytest.mark.parametrize("name", ["ricord_slab", "ricord_1a_series"])
def test_patient_never_comes_out_of_a_real_scan(data_dir: Path, name: str) -> None:
    report = inspect(data_dir / "dicom" / name)
    assert report.chosen == 0
    assert PATIENT not in str(report) + str(report.to_json())
    if name == "ricord_slab":
        volume = read(data_dir / "dicom" / name)
        assert PATIENT not in str(volume.notes) + str(dict(volume.scan))


@pytest.mark.parametrize("name", ["cip_thorax/ct-64.nrrd", "elastix_lung/3DCT_lung.mha", "ibsi_tumour/phantom.nii.gz"])
def test_real_volume_reads_as_simpleitk_reads_it(data_dir: Path, name: str) -> None:
    path = data_dir / "volumes" / name
    volume = read(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.hu, sitk.GetArrayFromImage(image))
    assert volume.hu.dtype == np.int16
    np.testing.assert_allclose(volume.geometry.spacing_mm[::-1], image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], image.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("name", ["elastix_lung/3DCT_lung_baseline_mask.mha", "ibsi_tumour/mask.nii.gz"])
def test_real_mask_reads_as_simpleitk_reads_it(data_dir: Path, name: str) -> None:
    path = data_dir / "volumes" / name
    np.testing.assert_array_equal(read_labels(path).labels, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
