"""The synthetic chest: its truth is exact, its anatomy is what the lung fields and the pictures need."""

from __future__ import annotations

import numpy as np
import pytest

from covfast.errors import ShapeError, ValueRangeError
from covfast.phantom import Phantom, chest_phantom, head_phantom, water_phantom
from covfast.volume import INFECTION, LEFT_LUNG, RIGHT_LUNG

SMALL = (80, 160, 160)


@pytest.fixture(scope="module")
def chest() -> Phantom:
    return chest_phantom(SMALL)


def test_chest_grid_is_canonical_and_shared(chest: Phantom) -> None:
    geometry = chest.volume.geometry
    assert geometry.orientation == "SPL"
    assert geometry.spacing_mm == pytest.approx((4.0, 2.25, 2.25))
    assert chest.volume.hu.dtype == np.int16
    assert chest.truth.geometry is geometry
    assert chest.lungs.geometry is geometry
    assert chest.airways.shape == SMALL


def test_chest_truth_is_lungs_with_infection(chest: Phantom) -> None:
    infected = chest.truth.labels == INFECTION
    assert infected.any()
    assert (chest.lungs.labels[infected] > 0).all()
    np.testing.assert_array_equal(chest.truth.labels[~infected], chest.lungs.labels[~infected])
    assert not (chest.airways & (chest.lungs.labels > 0)).any()


def test_chest_sizes_are_those_of_an_adult(chest: Phantom) -> None:
    voxel_ml = chest.volume.geometry.voxel_ml
    left_ml, right_ml = (float((chest.lungs.labels == label).sum() * voxel_ml) for label in (LEFT_LUNG, RIGHT_LUNG))
    assert 1800 < left_ml < right_ml < 3200
    assert 25 < chest.airways.sum() * voxel_ml < 60
    share = float((chest.truth.labels == INFECTION).sum() / (chest.lungs.labels > 0).sum())
    assert 0.03 < share < 0.15


def test_chest_volume_converges_with_finer_grids() -> None:
    """Anatomy is given in mm: another grid samples the same lungs."""
    volumes = []
    for shape in ((40, 90, 90), (80, 180, 180)):
        phantom = chest_phantom(shape, lesions=False)
        volumes.append(float((phantom.lungs.labels > 0).sum() * phantom.volume.geometry.voxel_ml))
    assert volumes[0] == pytest.approx(volumes[1], rel=0.01)


def test_chest_patient_left_lies_at_high_w(chest: Phantom) -> None:
    left, right = (np.nonzero(chest.lungs.labels == label)[2].mean() for label in (LEFT_LUNG, RIGHT_LUNG))
    assert left > SMALL[2] / 2 > right


def test_chest_densities_are_those_of_tissue(chest: Phantom) -> None:
    hu = chest.volume.hu
    healthy = (chest.truth.labels > 0) & (chest.truth.labels < INFECTION)
    assert -880 < np.median(hu[healthy]) < -780
    assert np.median(hu[chest.airways]) < -750
    assert abs(np.median(hu[0, :, 0]) + 1000) < 30
    sick = np.sort(hu[chest.truth.labels == INFECTION])
    assert sick[len(sick) // 10] < -500
    assert sick[-len(sick) // 10] > -50


def test_chest_lungs_touch_behind_the_sternum(chest: Phantom) -> None:
    labels = chest.lungs.labels
    touching = (labels[:, :, :-1] == RIGHT_LUNG) & (labels[:, :, 1:] == LEFT_LUNG)
    assert touching.sum() > 20


def _touches_outside(phantom: Phantom) -> bool:
    """True if dense lesion lies next to what is not lung, along W."""
    dense = (phantom.truth.labels == INFECTION) & (phantom.volume.hu > -100)
    outside = (phantom.lungs.labels == 0) & ~phantom.airways & (phantom.volume.hu > -150)
    lateral = np.abs(np.arange(dense.shape[2]) - dense.shape[2] / 2) > dense.shape[2] / 5
    contact = (dense[:, :, 1:] & outside[:, :, :-1]) | (dense[:, :, :-1] & outside[:, :, 1:])
    return bool((contact & lateral[1:]).sum() > 20)


def test_consolidation_at_pleura_touches_the_wall_only_when_asked(chest: Phantom) -> None:
    assert _touches_outside(chest)
    assert not _touches_outside(chest_phantom(SMALL, consolidation_at_pleura=False))


def test_chest_without_lesions_has_no_infection() -> None:
    phantom = chest_phantom((40, 96, 96), lesions=False)
    assert not (phantom.truth.labels == INFECTION).any()


def test_chest_same_seed_same_voxels() -> None:
    shape = (24, 64, 64)
    first, second, other = chest_phantom(shape, seed=3), chest_phantom(shape, seed=3), chest_phantom(shape, seed=4)
    np.testing.assert_array_equal(first.volume.hu, second.volume.hu)
    np.testing.assert_array_equal(first.truth.labels, second.truth.labels)
    assert (first.volume.hu != other.volume.hu).mean() > 0.5
    assert (first.truth.labels != other.truth.labels).any()


def test_chest_small_spacing_cuts_the_lungs_off() -> None:
    labels = chest_phantom((20, 96, 96), (4.0, 2.0, 2.0)).lungs.labels
    for border in (labels[0], labels[-1], labels[:, :, 0], labels[:, :, -1]):
        assert (border > 0).any()


def test_chest_padding_fills_the_corners_only() -> None:
    phantom = chest_phantom((8, 64, 64), padding_hu=-3024)
    assert (phantom.volume.hu[:, 0, 0] == -3024).all()
    assert (phantom.volume.hu[phantom.lungs.labels > 0] > -1100).all()


@pytest.mark.parametrize("make", [water_phantom, head_phantom])
def test_phantoms_without_lungs_are_not_air_alone(make: object) -> None:
    assert callable(make)
    volume = make()
    assert volume.hu.dtype == np.int16
    assert 0.05 < (volume.hu > -200).mean() < 0.9


def test_head_holds_air_that_is_not_lung() -> None:
    hu = head_phantom().hu
    assert (hu[10:40, 40:120, 50:110] < -700).any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 64, 64), (5, 7, 9)])
def test_chest_tiny_shapes_work(shape: tuple[int, int, int]) -> None:
    assert chest_phantom(shape).volume.hu.shape == shape


def test_chest_refuses_wrong_shape_and_spacing() -> None:
    with pytest.raises(ShapeError, match="shape"):
        chest_phantom((0, 4, 4))
    with pytest.raises(ValueRangeError, match="spacing_mm"):
        chest_phantom((4, 4, 4), (1.0, -1.0, 1.0))
