"""Lung fields of two methods: what a network may add to the native lungs, and to which side."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from covfast import Cancelled, DTypeError, NoLungsError, ShapeError, lung_fields, ops
from covfast.lung_fields import _thick, joined_lungs, lung_values
from covfast.phantom import Phantom, water_phantom

Hu = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


def canonical(phantom: Phantom) -> tuple[Hu, tuple[float, float, float], npt.NDArray[np.uint8]]:
    geometry = phantom.volume.geometry
    hu, lungs = (np.array(geometry.to_canonical(a)) for a in (phantom.volume.hu, phantom.lungs.labels))
    return hu, geometry.canonical().spacing_mm, lungs


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_nothing_found_leaves_the_native_lungs(small_phantom: Phantom) -> None:
    hu, spacing, _ = canonical(small_phantom)
    joined = joined_lungs(hu, spacing, np.zeros(hu.shape, bool))
    np.testing.assert_array_equal(joined, ops.lungs(hu, spacing, device="cpu"))


def test_consolidated_base_joins_its_lung(small_phantom: Phantom) -> None:
    hu, spacing, truth = canonical(small_phantom)
    base = np.flatnonzero((truth == 1).any(axis=(1, 2)))[:12]
    lower = np.zeros(hu.shape, bool)
    lower[base] = truth[base] == 1
    hu[lower] = 40
    native = ops.lungs(hu, spacing, device="cpu")
    joined = joined_lungs(hu, spacing, truth > 0)
    assert (native[lower] == 1).mean() < 0.9
    assert (joined[lower] == 1).mean() > 0.97
    assert dice(joined == 1, truth == 1) > max(0.95, dice(native == 1, truth == 1))
    assert dice(joined == 2, truth == 2) > 0.95


@pytest.mark.parametrize("aerated", [0.05, 0.12, 0.2, 0.3])
@pytest.mark.parametrize("side", [1, 2])
def test_lung_with_air_at_its_top_alone_stays_on_its_side(small_phantom: Phantom, side: int, aerated: float) -> None:
    hu, spacing, truth = canonical(small_phantom)
    slices = np.flatnonzero((truth == side).any(axis=(1, 2)))
    below = slices[: round(len(slices) * (1 - aerated))]
    hu[below] = np.where(truth[below] == side, 40, hu[below])
    joined = joined_lungs(hu, spacing, truth > 0)
    assert np.count_nonzero((truth == side) & (joined == 3 - side)) < 0.02 * np.count_nonzero(truth == side)
    assert dice(joined == side, truth == side) > 0.9


@pytest.mark.parametrize("side", [1, 2])
def test_lung_without_air_gets_its_side(small_phantom: Phantom, side: int) -> None:
    hu, spacing, truth = canonical(small_phantom)
    hu[truth == side] = 40
    assert (ops.lungs(hu, spacing, device="cpu")[truth == side] > 0).mean() < 0.1
    joined = joined_lungs(hu, spacing, truth > 0)
    assert dice(joined == side, truth == side) > 0.9
    assert dice(joined == 3 - side, truth == 3 - side) > 0.9


def test_both_lungs_without_air_are_found_on_their_sides(small_phantom: Phantom) -> None:
    hu, spacing, truth = canonical(small_phantom)
    hu[hu < 0] = 40  # nothing is air: the native method finds nothing
    with pytest.raises(NoLungsError):
        ops.lungs(hu, spacing, device="cpu")
    joined = joined_lungs(hu, spacing, truth > 0)
    assert min(dice(joined == side, truth == side) for side in (1, 2)) > 0.97


def test_air_and_small_pieces_are_not_added(small_phantom: Phantom) -> None:
    hu, spacing, _ = canonical(small_phantom)
    native = ops.lungs(hu, spacing, device="cpu")
    found = hu < -500  # the room, the trachea, and the lungs themselves
    found[:2, :2, :2] = True
    np.testing.assert_array_equal(joined_lungs(hu, spacing, found), native)


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (5, 4), (9, 1), (30, 2)])
def test_thick_is_an_opening_of_each_slice(sides: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(random.random((4, 25, 31)), (0, 2, 2)) > 0.5
    expected = ndimage.binary_opening(mask, np.ones((1, *sides)))
    np.testing.assert_array_equal(_thick(mask, sides), expected)


def test_rim_of_chest_wall_is_not_added(small_phantom: Phantom) -> None:
    hu, spacing, truth = canonical(small_phantom)
    rim = np.zeros(hu.shape, bool)
    rim[:, :, 1:] = (truth[:, :, :-1] > 0) & (truth[:, :, 1:] == 0)  # a voxel of 2.8 mm, where 5 mm are asked for
    native = ops.lungs(hu, spacing, device="cpu")
    np.testing.assert_array_equal(joined_lungs(hu, spacing, rim), native)


def test_no_lungs_of_either_is_an_error() -> None:
    volume = water_phantom()
    hu, spacing = volume.geometry.to_canonical(volume.hu), volume.geometry.canonical().spacing_mm
    with pytest.raises(NoLungsError):
        joined_lungs(hu, spacing, np.zeros(hu.shape, bool))


def test_found_of_another_shape_or_type_is_refused(small_phantom: Phantom) -> None:
    hu, spacing, truth = canonical(small_phantom)
    with pytest.raises(ShapeError, match="found: got shape"):
        joined_lungs(hu, spacing, (truth > 0)[:1])
    with pytest.raises(DTypeError, match="found: got uint8, expected bool"):
        joined_lungs(hu, spacing, truth)


def test_scattered_bits_alone_are_no_lungs() -> None:
    volume = water_phantom()
    hu, spacing = volume.geometry.to_canonical(volume.hu), volume.geometry.canonical().spacing_mm
    found = np.zeros(hu.shape, bool)
    found[::4, ::4, ::4] = True
    with pytest.raises(NoLungsError):
        joined_lungs(hu, spacing, found)


def test_cancelled_behind_the_native_lungs(small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    hu, spacing, truth = canonical(small_phantom)
    flag = threading.Event()

    def found_and_cancelled(*values: Any, **options: Any) -> npt.NDArray[np.uint8]:
        found = ops.lungs(*values, **options)
        flag.set()
        return found

    monkeypatch.setattr(lung_fields, "lungs", found_and_cancelled)
    with pytest.raises(Cancelled):
        joined_lungs(hu, spacing, truth > 0, cancel=flag)


def test_lung_values_are_those_of_lungs_and_lobes() -> None:
    names = {0: "background", 1: "Left Lung", 2: "heart", 5: "right middle lobe", 6: "lung_upper_lobe_left"}
    assert lung_values(names) == [1, 5, 6]
    assert lung_values({1: "lung tumour", 2: "globe", 3: "lung nodule", 4: "infection"}) == []
