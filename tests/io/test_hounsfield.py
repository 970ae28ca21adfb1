"""Values: padding, whole numbers, what cannot be HU, and windowed images brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast.errors import DTypeError, FormatError, ValueRangeError
from covfast.io import from_array, from_image, read, to_sitk, write
from covfast.io.hounsfield import gather
from covfast.volume import Geometry, Segmentation, Volume

SHAPE = (4, 5, 6)
GRID = Geometry.from_spacing(SHAPE, (2.5, 0.7, 0.8))


def ramp(low: float, high: float, dtype: Any = np.float64) -> npt.NDArray[Any]:
    return np.linspace(low, high, 120).reshape(SHAPE).astype(dtype)


def test_padding_becomes_air_and_is_counted() -> None:
    values = ramp(-1000, 400, np.int16)
    values[0, 0] = -3024
    values[1, 1, 1] = -2000
    volume = from_array(values, GRID)
    assert (volume.hu[0, 0] == -1024).all()
    assert volume.notes[0]["code"] == "PADDING_TO_AIR"
    assert volume.notes[0]["value"] == 7


@pytest.mark.parametrize("value", [-1024, -1050, -1999])
def test_values_that_a_scanner_may_measure_are_kept(value: int) -> None:
    values = ramp(-1000, 400, np.int16)
    values[0, 0, 0] = value
    volume = from_array(values, GRID)
    assert volume.hu[0, 0, 0] == value
    assert volume.notes == ()


def test_input_is_never_changed() -> None:
    values = ramp(-3000, 400, np.int16)
    before = values.copy()
    from_array(values, GRID)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 255, np.uint8),  # a windowed image
        (-12, 268, np.int16),  # resampled, with its ringing
        (0, 1, np.float64),
        (-1, 1, np.float32),  # normalised
        (-3.2, 4.1, np.float64),
        (0, 4095, np.uint16),  # stored values
        (0, 3, np.uint8),  # labels
        (-1000, 40000, np.int32),
        (-1000, 1e6, np.float64),
    ],
)
def test_values_that_cannot_be_hu_are_a_format_error(low: float, high: float, dtype: Any) -> None:
    with pytest.raises(FormatError, match=r"CT in HU|HU, at most"):
        from_array(ramp(low, high, dtype), GRID)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (0, 4095)])
def test_refused_values_name_the_way_out(low: float, high: float) -> None:
    with pytest.raises(FormatError, match=r"--input-window LO HI"):
        from_array(ramp(low, high), GRID)


def test_padding_proves_nothing_about_the_scale() -> None:
    values = ramp(0, 255, np.int16)
    values[0] = -3024
    with pytest.raises(FormatError, match="--input-window"):
        from_array(values, GRID)


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-1250, 1500), (-80, 75), (-1000, -1000), (0, 0)])
def test_values_that_may_be_hu_pass(low: float, high: float) -> None:
    assert from_array(ramp(low, high, np.int16), GRID).hu.dtype == np.int16


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1.0, np.float32), (255, np.uint8), (4095, np.uint16), (65535, np.uint16)]
)
def test_window_maps_the_scale_and_not_the_extremes(scale: float, dtype: Any) -> None:
    values = ramp(0, 0.9 * scale, dtype)
    volume = from_array(values, GRID, input_window=(-1250.0, 250.0))
    np.testing.assert_allclose(volume.hu, -1250 + values.astype(np.float64) / scale * 1500, atol=1e-3)
    assert volume.notes[0]["code"] == "INPUT_WINDOW"
    assert volume.notes[0]["value"] == [-1250.0, 250.0]


def test_window_of_a_ringing_image_is_cut_at_its_ends() -> None:
    volume = from_array(ramp(-10, 265), GRID, input_window=(-1000.0, 200.0))
    assert (volume.hu.min(), volume.hu.max()) == (-1000.0, 200.0)


def test_window_of_a_ct_in_hu_is_refused() -> None:
    with pytest.raises(FormatError, match="leave --input-window out"):
        from_array(ramp(-1000, 400), GRID, input_window=(-1250.0, 250.0))


@pytest.mark.parametrize("window", [(250.0, -1250.0), (0.0, 0.0), (float("nan"), 1.0), (1.0,)])
def test_window_that_is_none_is_a_value_error(tmp_path: Path, window: Any) -> None:
    write(tmp_path / "x.nii", Volume(ramp(0, 255, np.int16), GRID))
    with pytest.raises(ValueRangeError, match="input_window"):
        read(tmp_path / "x.nii", input_window=window)


def test_windowed_file_reads_with_its_window(tmp_path: Path) -> None:
    write(tmp_path / "x.nii.gz", Volume(ramp(0, 255, np.int16), GRID))
    with pytest.raises(FormatError, match=r"x\.nii\.gz"):
        read(tmp_path / "x.nii.gz")
    assert read(tmp_path / "x.nii.gz", input_window=(-1250.0, 250.0)).hu.min() == -1250


def test_option_that_is_unknown_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueRangeError, match="on_geometry"):
        read(tmp_path, on_geometry="warn")


def test_gather_turns_to_float_late_without_losing_what_came_before() -> None:
    planes = [np.full((2, 2), 7, np.int16), np.full((2, 2), 0.5), np.full((2, 2), -9, np.int16)]
    voxels = gather(iter(planes), (3, 2, 2), "x")
    assert voxels.values.dtype == np.float32
    assert voxels.values[:, 0, 0].tolist() == [7.0, 0.5, -9.0]


@pytest.mark.parametrize("dtype", [np.bool_, np.complex64, "U1"])
def test_arrays_of_no_numbers_are_a_type_error(dtype: Any) -> None:
    with pytest.raises(DTypeError):
        from_array(np.zeros(SHAPE, dtype), GRID)


def test_images_of_other_libraries_keep_their_grid() -> None:
    sitk = pytest.importorskip("SimpleITK")
    nibabel = pytest.importorskip("nibabel")
    geometry = Geometry.from_spacing(SHAPE, (2.5, 0.7, 0.8), "IPR", (3.0, 4.0, 5.0))
    hu = ramp(-1000, 400, np.int16)
    image = to_sitk(Volume(hu, geometry))
    assert isinstance(image, sitk.Image)
    back = from_image(image)
    np.testing.assert_array_equal(back.hu, hu)
    assert back.geometry.is_close(geometry)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]
    other = from_image(nibabel.Nifti1Image(hu.T, ras))
    np.testing.assert_array_equal(other.hu, hu)
    assert other.geometry.is_close(geometry)


def test_labels_become_a_sitk_image() -> None:
    sitk = pytest.importorskip("SimpleITK")
    labels = np.arange(120, dtype=np.uint8).reshape(SHAPE) % 4
    np.testing.assert_array_equal(sitk.GetArrayFromImage(to_sitk(Segmentation(labels, GRID))), labels)


def test_objects_that_are_no_image_are_a_type_error() -> None:
    with pytest.raises(DTypeError, match="SimpleITK or nibabel"):
        from_image(object())


def test_sitk_images_that_are_no_volume_are_refused() -> None:
    sitk = pytest.importorskip("SimpleITK")
    for image in (sitk.Image(4, 4, sitk.sitkInt16), sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3)):
        with pytest.raises(FormatError):
            from_image(image)
