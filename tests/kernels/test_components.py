"""Connected components against brute force, cc3d and scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from reference import components as reference

from covfast import component_ops as ops
from covfast import errors

CONNECTIVITIES = (4, 8, 6, 18, 26)
SHAPES = [(1, 1, 1), (1, 9, 11), (3, 1, 8), (5, 7, 1), (9, 8, 17), (17, 6, 33)]


def _random_labels(
    shape: tuple[int, int, int], seed: int, values: int = 3, empty: float = 0.6
) -> npt.NDArray[np.uint8]:
    """Random voxels, and small blocks of one value so that runs are longer than one voxel."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(shape) < empty, 0, random.integers(1, values + 1, shape)).astype(np.uint8)
    for _ in range(6):
        begin = [random.integers(0, n) for n in shape]
        labels[tuple(slice(b, b + random.integers(1, 6)) for b in begin)] = random.integers(0, values + 1)
    return labels


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_components_match_brute_force(shape: tuple[int, int, int], connectivity: int) -> None:
    for seed, empty in enumerate((0.3, 0.6, 0.9)):
        labels = _random_labels(shape, seed, empty=empty)
        found = ops.components(labels, connectivity)
        expected = reference.components(labels, connectivity)
        np.testing.assert_array_equal(found.numbers, expected)
        assert found.numbers.dtype == np.int32
        for number in range(1, len(found.voxels) + 1):
            where = np.argwhere(expected == number)
            assert found.voxels[number - 1] == len(where)
            assert found.values[number - 1] == labels[tuple(where[0])]
            np.testing.assert_array_equal(found.boxes[number - 1], [where.min(0), where.max(0) + 1])


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_components_any_strides_give_the_same(connectivity: int) -> None:
    labels = _random_labels((12, 10, 21), 7)
    expected = ops.components(labels, connectivity).numbers
    twisted = np.zeros((21, 24, 10), np.uint8).transpose(1, 2, 0)[::2, :, ::-1]
    twisted[:] = labels
    np.testing.assert_array_equal(ops.components(twisted, connectivity).numbers, expected)
    np.testing.assert_array_equal(
        ops.largest_component(twisted, connectivity), ops.largest_component(labels, connectivity)
    )


@pytest.mark.parametrize("connectivity", [6, 26])
def test_components_any_number_of_threads_gives_the_same(connectivity: int) -> None:
    labels = _random_labels((70, 40, 90), 3, empty=0.75)
    one = ops.components(labels, connectivity, threads=1)
    for threads in (2, 3, 7):
        for a, b in zip(one, ops.components(labels, connectivity, threads=threads), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_components_match_cc3d(connectivity: int) -> None:
    cc3d = pytest.importorskip("cc3d", reason="needs the package connected-components-3d")
    for seed in range(5):
        labels = _random_labels((25, 30, 41), seed, values=5, empty=0.2 * seed)
        theirs, n = cc3d.connected_components(labels, connectivity=connectivity, return_N=True)
        found = ops.components(labels, connectivity)
        assert n == len(found.voxels)
        pairs = np.unique(np.stack([theirs.ravel(), found.numbers.ravel()]), axis=1)
        assert pairs.shape[1] == n + bool((labels == 0).any())


def test_components_of_an_image_join_corners() -> None:
    image = np.eye(5, dtype=bool)
    assert len(ops.components(image).voxels) == 1
    assert len(ops.components(image, 4).voxels) == 5
    assert ops.components(image).boxes.shape == (1, 2, 2)


def test_components_slices_are_apart_with_planar_connectivity() -> None:
    labels = np.ones((20, 3, 3), np.uint8)
    found = ops.components(labels, 8)
    np.testing.assert_array_equal(found.voxels, [9] * 20)
    assert len(ops.components(labels, 6).voxels) == 1


def test_components_of_a_spiral_through_slabs_are_one() -> None:
    labels = np.zeros((40, 5, 5), np.uint8)
    ring = [(0, 0), (0, 2), (0, 4), (2, 4), (4, 4), (4, 2), (4, 0), (2, 0)]
    for d in range(40):
        h, w = ring[d % 8]
        labels[d, h, w] = 1
        nh, nw = ring[(d + 1) % 8]
        labels[d, min(h, nh) : max(h, nh) + 1, min(w, nw) : max(w, nw) + 1] = 1
    found = ops.components(labels, 6)
    np.testing.assert_array_equal(found.voxels, [labels.sum()])


def test_components_of_neighbouring_values_stay_apart() -> None:
    labels = np.array([[1, 1, 2, 2, 1, 255]], np.uint8)
    found = ops.components(labels)
    np.testing.assert_array_equal(found.numbers, [[1, 1, 2, 2, 3, 4]])
    np.testing.assert_array_equal(found.values, [1, 2, 1, 255])


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0)])
def test_components_of_nothing_are_none(shape: tuple[int, int, int]) -> None:
    found = ops.components(np.zeros(shape, np.uint8))
    assert found.numbers.shape == shape
    assert len(found.voxels) == 0
    assert ops.fill_holes(np.zeros(shape, np.uint8)).shape == shape


def test_largest_component_keeps_one_of_each_label() -> None:
    labels = np.array([[1, 1, 0, 1, 0, 2, 0, 2, 2, 2, 0, 1, 1]], np.uint8)
    first = ops.largest_component(labels)
    np.testing.assert_array_equal(first, [[1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0]])
    last = ops.largest_component(labels, ties="last")
    np.testing.assert_array_equal(last, [[0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 1, 1]])
    both = ops.largest_component(labels, ties="all")
    np.testing.assert_array_equal(both, [[1, 1, 0, 0, 0, 0, 0, 2, 2, 2, 0, 1, 1]])


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_filters_match_brute_force_and_keep_the_input(connectivity: int) -> None:
    for seed in range(3):
        labels = _random_labels((9, 10, 13), seed)
        before = labels.copy()
        numbers = reference.components(labels, connectivity)
        sizes = np.bincount(numbers.ravel())
        expected = np.where(sizes[numbers] >= 4, labels, 0)
        np.testing.assert_array_equal(ops.remove_small(labels, 4, connectivity), expected)
        largest = ops.largest_component(labels, connectivity)
        for value in (1, 2, 3):
            kept = np.unique(numbers[largest == value])
            own = np.unique(numbers[labels == value])
            assert len(kept) == 1
            assert sizes[kept[0]] == sizes[own].max()
            assert kept[0] == own[np.argmax(sizes[own])]
        np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_fill_holes_matches_brute_force(connectivity: int) -> None:
    for seed in range(4):
        labels = _random_labels((7, 9, 12), seed, values=2, empty=0.3)
        for value in (1, 2):
            expected = reference.fill_holes(labels, connectivity, value)
            np.testing.assert_array_equal(ops.fill_holes(labels, connectivity, value=value), expected)


def test_fill_holes_matches_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs scipy")
    for seed in range(5):
        mask = np.random.default_rng(seed).random((20, 25, 30)) < 0.5 + 0.1 * seed
        mask[5:15, 5:15, 5:15] = True
        mask[8:12, 8:12, 8:12] = False
        filled = ops.fill_holes(mask)
        assert filled.dtype == bool
        np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(mask))
        planar = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
        np.testing.assert_array_equal(ops.fill_holes(mask, 4), planar)
        corners = np.stack([ndimage.binary_fill_holes(plane, np.ones((3, 3))) for plane in mask])
        np.testing.assert_array_equal(ops.fill_holes(mask, 8), corners)


def test_fill_holes_of_a_slice_and_of_a_volume_of_one() -> None:
    image = np.ones((5, 6), bool)
    image[2, 3] = False
    assert ops.fill_holes(image).all()
    assert not ops.fill_holes(image[None]).all()
    assert ops.fill_holes(image[None], 4).all()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: ops.components(np.zeros((2, 2, 2), np.int16)), errors.DTypeError),
        (lambda: ops.components(np.zeros(4, np.uint8)), errors.ShapeError),
        (lambda: ops.components(np.zeros((2, 2, 2), np.uint8), 10), errors.ValueRangeError),
        (lambda: ops.components(np.zeros((2, 2), np.uint8), 26), errors.ValueRangeError),
        (lambda: ops.largest_component(np.zeros((2, 2), np.uint8), ties="none"), errors.ValueRangeError),
        (lambda: ops.remove_small(np.zeros((2, 2), np.uint8), 0), errors.ValueRangeError),
        (lambda: ops.fill_holes(np.zeros((2, 2), np.uint8), value=256), errors.ValueRangeError),
    ],
)
def test_wrong_arguments_are_typed_errors(call: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"got .*, expected "):
        call()
