"""Channels as the files store them: order, types, scaling, grids, images of two axes. Oracle: SimpleITK."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dicom_files import write_slices
from dicom_series import plain
from image_files import SUFFIXES, ct, sitk_affine, written

from covfast.errors import DTypeError, FormatError, GeometryError, ShapeError, ValueRangeError
from covfast.io import SLICE_SPACING, Channels, read, read_channels, write
from covfast.volume import Geometry, Segmentation

Array = npt.NDArray[Any]


def sitk_written(path: Path, values: Array, spacing: tuple[float, ...] = (0.7, 0.8, 2.5), origin: float = 0.0) -> Path:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing[: values.ndim])
    image.SetOrigin((origin,) * values.ndim)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LPS", "PSR"])
def test_arrays_are_in_the_files_order_as_sitk_has_them(tmp_path: Path, suffix: str, orientation: str) -> None:
    geometry = Geometry.from_spacing((5, 6, 7), (2.5, 0.7, 0.8), orientation, (1.5, -20.25, 7.0))
    path = written(tmp_path / f"x{suffix}", geometry=geometry)
    found = read_channels(path)
    array, affine = sitk_affine(path)
    np.testing.assert_array_equal(found.arrays[0], array)
    np.testing.assert_allclose(found.geometry.affine, affine, atol=1e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_spacing_is_sitks_to_the_last_bit(tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    image = sitk.GetImageFromArray(ct())
    image.SetSpacing((0.7421875, 0.69999999, 2.1))
    image.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel())
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(image, str(path))
    expected = sitk.ReadImage(str(path)).GetSpacing()[::-1]
    tolerance = 1e-15 if suffix == ".nrrd" else 0.0  # a NRRD states vectors, whose length each reader takes
    np.testing.assert_allclose(read_channels(path).spacing_mm, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("dtype", "high", "expected"),
    [
        ("u1", 255, "i2"), ("i1", 127, "i2"), ("i2", 32767, "i2"), ("u2", 32767, "i2"), ("u2", 32768, "f4"),
        ("i4", 1000, "i2"), ("i4", 100000, "f4"), ("u4", 2**20, "f4"), ("f4", 3, "f4"), ("f8", 3, "f4"),
    ],
)  # fmt: skip
def test_integers_stay_whole_and_others_become_float32(
    tmp_path: Path, suffix: str, dtype: str, high: int, expected: str
) -> None:
    values = np.random.default_rng(1).integers(0, 100, (4, 5, 6)).astype(dtype)
    values[2, 1, 3] = high  # not in the first plane
    found = read_channels(sitk_written(tmp_path / f"x{suffix}", values)).arrays[0]
    assert found.dtype == np.dtype(expected)
    np.testing.assert_array_equal(found, values)


def test_a_scaled_nifti_is_scaled_in_double_and_float32(tmp_path: Path) -> None:
    path = written(tmp_path / "x.nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<2f", data, 112, 0.37, -1024.0)
    path.write_bytes(data)
    slope = float(np.float32(0.37))
    found = read_channels(path).arrays[0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (ct() * slope - 1024.0).astype(np.float32))
    np.testing.assert_array_equal(found, sitk_affine(path)[0].astype(np.float32))


def test_values_that_are_no_hu_pass_and_nan_stays(tmp_path: Path) -> None:
    values = np.full((3, 4, 5), 7, np.float64)
    values[1, 2] = np.nan
    values[2, 0, 0] = 1e300
    found = read_channels(sitk_written(tmp_path / "x.nii.gz", values)).arrays[0]
    assert np.isnan(found[1, 2]).all()
    assert np.isinf(found[2, 0, 0])
    padded = read_channels(sitk_written(tmp_path / "y.mha", np.full((3, 4, 5), -3024, np.int16)))
    assert (padded.arrays[0] == -3024).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("values", [ct()[:1], ct()[:, :1], ct()[0]])
def test_single_slices_are_depth_1_and_of_two_axes_as_nnunet_has_them(
    tmp_path: Path, suffix: str, values: Array
) -> None:
    found = read_channels(sitk_written(tmp_path / f"x{suffix}", values))
    expected = values[None] if values.ndim == 2 else values
    np.testing.assert_array_equal(found.arrays[0], expected)
    assert found.is_slice == (values.ndim == 2)
    depth_mm = SLICE_SPACING * float(np.float32(0.8)) if values.ndim == 2 else 2.5
    assert found.spacing_mm == pytest.approx((depth_mm, 0.8, 0.7), rel=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_two_axes_keeps_its_direction(tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(ct()[0])
    image.SetSpacing((0.7, 0.8))
    image.SetOrigin((1.5, 2.5))
    image.SetDirection((0, 1, 1, 0))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    affine = read_channels(tmp_path / f"x{suffix}").geometry.affine
    expected = [[0, 0.8], [0.7, 0]]  # columns w, h; rows x, y
    np.testing.assert_allclose(affine[:2, [2, 1]], expected, atol=1e-6)
    np.testing.assert_allclose(affine[:2, 3], [1.5, 2.5])
    with pytest.raises(GeometryError, match="segment_slice"):
        read(tmp_path / f"x{suffix}")


def test_channels_come_in_the_order_of_their_paths_each_in_its_type(tmp_path: Path) -> None:
    one = sitk_written(tmp_path / "b.nii.gz", ct())
    two = sitk_written(tmp_path / "a.nii.gz", ct().astype(np.float32) / 7)
    found = read_channels([one, str(two)])
    assert [array.dtype for array in found.arrays] == [np.int16, np.float32]
    np.testing.assert_array_equal(found.arrays[0], ct())
    assert found.scan == {"source": "nii.gz", "channels": 2}


def test_formats_may_differ_between_channels(tmp_path: Path) -> None:
    found = read_channels([sitk_written(tmp_path / f"x{suffix}", ct()) for suffix in SUFFIXES])
    assert len(found.arrays) == len(SUFFIXES)


@pytest.mark.parametrize("on_geometry", ["error", "repair"])
def test_channels_on_other_grids_are_refused(tmp_path: Path, on_geometry: str) -> None:
    one = sitk_written(tmp_path / "x_0000.nii.gz", ct())
    shape = sitk_written(tmp_path / "x_0001.nii.gz", ct()[:4])
    with pytest.raises(GeometryError, match=r"x_0000.nii.gz and x_0001.nii.gz.*shapes"):
        read_channels([one, shape], on_geometry)
    spacing = sitk_written(tmp_path / "x_0002.nii.gz", ct(), (0.7, 0.8, 2.6))
    with pytest.raises(GeometryError, match="spacings"):
        read_channels([one, spacing], on_geometry)


def test_channels_at_other_places_are_refused_or_moved(tmp_path: Path) -> None:
    paths = [sitk_written(tmp_path / f"{mm}.nii.gz", ct(), origin=mm) for mm in (0.0, 3.0)]
    with pytest.raises(GeometryError, match="repair"):
        read_channels(paths)
    found = read_channels(paths, "repair")
    assert [note["code"] for note in found.notes] == ["CHANNEL_MOVED"]
    np.testing.assert_array_equal(found.geometry.affine[:3, 3], 0)


def test_a_dicom_folder_is_one_channel(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write_slices(folder, plain())
    volume = read(folder)
    found = read_channels(folder)
    np.testing.assert_array_equal(found.arrays[0], volume.hu)
    assert found.geometry.is_close(volume.geometry)
    assert found.scan["source"] == "dicom"


@pytest.mark.parametrize("paths", [[], [3], [None], [""], ["a.nii", 3]])
def test_no_path_is_refused(paths: list[Any]) -> None:
    with pytest.raises(ValueRangeError, match="paths"):
        read_channels(paths)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = sitk_written(tmp_path / "good.nii.gz", ct())
    (tmp_path / "bad.nii.gz").write_bytes(gzip.compress(b"nothing"))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(good.read_bytes()[:-50])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    for name in ("absent.nii.gz", "bad.nii.gz", "cut.nii.gz", "picture.png"):
        with pytest.raises(FormatError, match=name):
            read_channels([good, tmp_path / name])
    with pytest.raises(ValueRangeError, match="on_geometry"):
        read_channels(good, "ignore")


def test_channels_of_arrays_are_checked() -> None:
    geometry = Geometry.from_spacing((5, 6, 7), (2.5, 0.7, 0.8))
    assert Channels([ct()], geometry).spacing_mm == geometry.spacing_mm  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="no channel"):
        Channels((), geometry)
    with pytest.raises(DTypeError, match=r"arrays\[1\]"):
        Channels((ct(), ct().astype(np.float64)), geometry)
    with pytest.raises(ShapeError, match=r"arrays\[0\]"):
        Channels((ct()[:4],), geometry)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_of_a_file_of_two_axes_are_written_as_one_on_its_grid(tmp_path: Path, suffix: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(ct()[0])
    image.SetSpacing((0.7, 0.8))
    image.SetOrigin((1.5, 2.5))
    image.SetDirection((0, 1, 1, 0))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    found = read_channels(tmp_path / f"x{suffix}")
    labels = np.arange(42, dtype=np.uint8).reshape(1, 6, 7)
    write(tmp_path / f"y{suffix}", Segmentation(labels, found.geometry), is_slice=found.is_slice)
    again = sitk.ReadImage(str(tmp_path / f"y{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), labels[0])
    np.testing.assert_allclose(again.GetSpacing(), (0.7, 0.8), rtol=1e-6)
    np.testing.assert_allclose(again.GetOrigin(), (1.5, 2.5))
    np.testing.assert_allclose(again.GetDirection(), (0, 1, 1, 0), atol=1e-6)
