"""NIfTI, NRRD and MetaImage: every orientation, every header that lies. Oracles: SimpleITK and nibabel."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from image_files import SUFFIXES, ct, sitk_affine, written

from covfast.errors import FormatError, GeometryError
from covfast.io import read, read_labels, write
from covfast.volume import LABELS, Geometry, Segmentation

Array = npt.NDArray[Any]

ORIENTATIONS = [
    "".join(letters) for pairs in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*pairs)
]
TOLERANCE_MM = 1e-4  # NIfTI-1 holds its affine in float32


def oblique(shape: tuple[int, int, int]) -> Geometry:
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * (2.5, 0.7, 0.8)
    affine[:3, 3] = (1.5, -20.25, 7.0)
    return Geometry(shape, affine)


def sheared(shape: tuple[int, int, int]) -> Geometry:
    affine = np.array(Geometry.from_spacing(shape, (2.5, 0.7, 0.8)).affine)
    affine[1, 0] = 0.5
    return Geometry(shape, affine)


def test_the_48_orientations_are_all_there() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_volume_written_in_any_orientation_reads_back_and_agrees_with_sitk(
    tmp_path: Path, orientation: str, suffix: str
) -> None:
    canonical = Geometry.from_spacing((5, 6, 7), (2.5, 0.7, 0.8), origin_mm=(1.5, -20.25, 7.0))
    hu = ct()
    # The same patient, stored along other axes: what a reader must undo.
    target = Geometry.from_spacing((2, 2, 2), (1, 1, 1), orientation)
    stored = target.from_canonical(hu)
    affine = np.array(canonical.affine)
    columns = np.zeros((3, 3))
    origin = affine[:3, 3].copy()
    for place, (axis, flip) in enumerate(zip(target.axes, target.flips, strict=True)):
        columns[:, axis] = affine[:3, place] * (-1 if flip else 1)
        origin += affine[:3, place] * (hu.shape[place] - 1) * flip
    affine[:3, :3], affine[:3, 3] = columns, origin
    geometry = Geometry(stored.shape, affine)
    assert geometry.orientation == orientation

    path = written(tmp_path / f"x{suffix}", np.ascontiguousarray(stored), geometry)
    volume = read(path)
    assert volume.hu.dtype == np.int16
    assert volume.geometry.is_close(geometry, TOLERANCE_MM)
    np.testing.assert_array_equal(volume.geometry.to_canonical(volume.hu), hu)
    assert volume.geometry.canonical().is_close(canonical, TOLERANCE_MM)
    array, oracle = sitk_affine(path)
    np.testing.assert_array_equal(array, stored)
    np.testing.assert_allclose(oracle, affine, atol=TOLERANCE_MM)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_oblique_grid_is_kept_and_agrees_with_sitk(tmp_path: Path, suffix: str) -> None:
    geometry = oblique((5, 6, 7))
    path = written(tmp_path / f"x{suffix}", geometry=geometry)
    assert read(path).geometry.is_close(geometry, TOLERANCE_MM)
    np.testing.assert_allclose(sitk_affine(path)[1], geometry.affine, atol=TOLERANCE_MM)


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "LPS", "PSR"])
def test_nifti_forms_agree_with_each_other_and_with_nibabel(tmp_path: Path, orientation: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    geometry = Geometry.from_spacing((5, 6, 7), (2.5, 0.7, 0.8), orientation, (1.5, -20.25, 7.0))
    image = nibabel.load(written(tmp_path / "x.nii.gz", geometry=geometry))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ct())
    np.testing.assert_allclose(
        np.diag([-1, -1, 1, 1]) @ image.affine, geometry.affine[:, [2, 1, 0, 3]], atol=TOLERANCE_MM
    )
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=TOLERANCE_MM)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_nifti_of_nibabel_reads_by_either_form(tmp_path: Path, kind: str, form: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    geometry = oblique((5, 6, 7))
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]
    image = getattr(nibabel, kind)(ct().T, ras)
    image.set_sform(ras, int(form == "sform"))
    image.set_qform(ras, int(form == "qform"))
    nibabel.save(image, tmp_path / "x.nii.gz")
    volume = read(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(volume.hu, ct())
    assert volume.geometry.is_close(geometry, 1e-3)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_sheared_grid_is_kept(tmp_path: Path, suffix: str) -> None:
    geometry = sheared((5, 6, 7))
    volume = read(written(tmp_path / f"x{suffix}", geometry=geometry))
    assert volume.geometry.is_close(geometry, TOLERANCE_MM)
    assert volume.geometry.voxel_ml == pytest.approx(geometry.voxel_ml, rel=1e-6)


def test_sheared_grid_in_metaimage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="sheared"):
        written(tmp_path / "x.mha", geometry=sheared((5, 6, 7)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8"])
def test_sitk_files_of_any_type_read_as_int16_where_whole(tmp_path: Path, suffix: str, dtype: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    values = np.random.default_rng(1).integers(0, 100, (4, 5, 6)).astype(dtype)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.8, 2.5))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"), useCompression=True)
    labels = read_labels(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(labels.labels, values.astype(np.uint8))
    assert labels.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_fractions_stay_float32(tmp_path: Path) -> None:
    hu = ct().astype(np.float32) + np.float32(0.25)
    volume = read(written(tmp_path / "x.nii.gz", hu))
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, hu)


def test_whole_numbers_in_float_become_int16(tmp_path: Path) -> None:
    volume = read(written(tmp_path / "x.nii.gz", ct().astype(np.float32)))
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, ct())


@pytest.mark.parametrize(("suffix", "data"), [(".mhd", ".raw"), (".nhdr", ".raw")])
def test_header_beside_its_data_reads(tmp_path: Path, suffix: str, data: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(ct()), str(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(read(tmp_path / f"x{suffix}").hu, ct())
    (tmp_path / f"x{data}").unlink()
    with pytest.raises(FormatError, match=r"x\.raw"):
        read(tmp_path / f"x{suffix}")


def test_labels_round_trip_with_their_names(tmp_path: Path) -> None:
    labels = np.random.default_rng(2).integers(0, 4, (4, 5, 6)).astype(np.uint8)
    geometry = Geometry.from_spacing((4, 5, 6), (1, 1, 1))
    write(tmp_path / "l.nii.gz", Segmentation(labels, geometry))
    back = read_labels(tmp_path / "l.nii.gz")
    np.testing.assert_array_equal(back.labels, labels)
    assert dict(back.names) == dict(LABELS)


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="labels"):
        read_labels(written(tmp_path / "x.nii.gz"))
