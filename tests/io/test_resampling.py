"""Label maps on another grid, and probability maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covfast.errors import FormatError, GeometryError
from covfast.io import read_probability, resample_labels, write
from covfast.volume import Geometry, Segmentation, Volume

LABELS = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(np.uint8)


def grid(spacing: tuple[float, float, float] = (3.0, 1.5, 1.25), orientation: str = "SPL") -> Geometry:
    return Geometry.from_spacing((5, 6, 7), spacing, orientation, (10.0, -20.0, 30.0))


def test_resample_labels_onto_its_own_grid_is_the_identity() -> None:
    for orientation in ("SPL", "RAI", "LSP"):
        image = Segmentation(LABELS, grid(orientation=orientation))
        np.testing.assert_array_equal(resample_labels(image, image.geometry).labels, LABELS)


def test_resample_labels_takes_the_nearest_voxel_and_0_outside() -> None:
    where = grid()
    rng = np.random.default_rng(1)
    affine = np.eye(4)
    affine[:3, :3] = where.affine[:3, :3] * (0.83, 1.21, 0.9)
    affine[:3, 3] = where.affine[:3, 3] + rng.uniform(-2, 2, 3)
    other = Geometry((6, 7, 8), affine)
    found = resample_labels(Segmentation(LABELS, where), other)
    index = np.linalg.inv(where.affine) @ affine @ np.vstack([np.indices(other.shape).reshape(3, -1), np.ones(336)])
    assert np.abs(index[:3] % 1 - 0.5).min() > 1e-6  # no voxel lies between two
    nearest = np.rint(index[:3]).astype(int)
    inside = ((nearest >= 0) & (nearest < np.array(where.shape)[:, np.newaxis])).all(axis=0)
    expected = np.zeros(336, np.uint8)
    expected[inside] = LABELS[tuple(nearest[:, inside])]
    np.testing.assert_array_equal(found.labels.ravel(), expected)
    assert found.geometry is other


def test_resample_labels_refuses_grids_that_do_not_overlap() -> None:
    far = Geometry.from_spacing((5, 6, 7), (3.0, 1.5, 1.25), "SPL", (10.0, -20.0 + 6 * 1.5, 30.0))
    with pytest.raises(GeometryError, match="overlap"):
        resample_labels(Segmentation(LABELS, grid()), far)
    near = Geometry.from_spacing((5, 6, 7), (3.0, 1.5, 1.25), "SPL", (10.0, -20.0 + 5 * 1.5, 30.0))
    np.testing.assert_array_equal(resample_labels(Segmentation(LABELS, grid()), near).labels[:, 0], LABELS[:, 5])


def test_resample_labels_refuses_a_sheared_grid_on_either_side() -> None:
    affine = np.array(grid().affine)
    affine[0, 0] += 1.0
    sheared = Geometry((5, 6, 7), affine)
    for one, other in ((grid(), sheared), (sheared, grid())):
        with pytest.raises(GeometryError, match="sheared"):
            resample_labels(Segmentation(LABELS, one), other)


@pytest.mark.parametrize(("values", "divisor"), [(LABELS / 255.0, 1.0), (LABELS, 255.0), (LABELS % 2, 1.0)])
def test_read_probability_gives_0_to_1(tmp_path: Path, values: np.ndarray, divisor: float) -> None:
    stored = values.astype(np.float32 if values.dtype.kind == "f" else np.int16)
    write(tmp_path / "x.nii.gz", Volume(stored, grid()))
    found = read_probability(tmp_path / "x.nii.gz")
    assert found.hu.dtype == np.float32
    np.testing.assert_array_equal(found.hu, (stored / np.float32(divisor)).astype(np.float32))
    assert found.geometry.is_close(grid())


@pytest.mark.parametrize("values", [LABELS - 1.0, LABELS + 256.0, LABELS * 0.5, np.full(LABELS.shape, np.nan)])
def test_read_probability_refuses_what_is_none(tmp_path: Path, values: np.ndarray) -> None:
    write(tmp_path / "x.nii.gz", Volume(values.astype(np.float32), grid()))
    with pytest.raises(FormatError, match=r"x\.nii\.gz: got"):
        read_probability(tmp_path / "x.nii.gz")
