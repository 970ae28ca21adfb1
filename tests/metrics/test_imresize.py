"""MATLAB's bicubic resize: weights known by hand, laws, and Pillow's bicubic where the edge plays no part."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from PIL import Image

from covfast.metrics.imresize import imresize


def test_doubling_has_keys_weights_and_a_mirrored_edge() -> None:
    line = np.zeros((1, 7))
    line[0, 3] = 1.0
    far, low, near, high = -0.0234375, 0.2265625, 0.8671875, -0.0703125
    expected = [0, 0, 0, far, high, low, near, near, low, high, far, 0, 0, 0]
    np.testing.assert_allclose(imresize(line, (1, 14))[0], expected, atol=1e-15)
    edge = np.zeros((1, 7))
    edge[0, 0] = 1.0
    # The first output pixel lies at -0.25: pixel 0 is hit directly (near) and by its mirror image (low).
    np.testing.assert_allclose(imresize(edge, (1, 14))[0, :3], [near + low, near + high, low + far], atol=1e-15)


def test_halving_widens_the_kernel() -> None:
    line = np.zeros((1, 32))
    line[0, 15] = 1.0
    taps = np.array(
        [-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875]
    )
    found = imresize(line, (1, 16))[0]
    np.testing.assert_allclose(found[5:10], [0, taps[1], taps[3], taps[5], taps[7]], atol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (16, 16), (9, 40), (31, 2)])
def test_constant_stays_constant(shape: tuple[int, int]) -> None:
    np.testing.assert_allclose(imresize(np.full((8, 8), 0.3), shape), 0.3, atol=1e-15)
    assert (imresize(np.full((8, 8), 77, np.uint8), shape) == 77).all()


@pytest.mark.parametrize("shape", [(12, 9), (40, 31), (7, 30), (40, 9)])
def test_transposing_transposes(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((20, 23))
    np.testing.assert_allclose(imresize(image.T, shape[::-1]), imresize(image, shape).T, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 9), (40, 31), (7, 30)])
def test_mirroring_mirrors(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).random((20, 23))
    np.testing.assert_allclose(imresize(image[::-1], shape), imresize(image, shape)[::-1], atol=1e-12)


def test_same_size_is_the_same_image() -> None:
    image = np.random.default_rng(2).integers(0, 256, (9, 11), dtype=np.uint8)
    np.testing.assert_array_equal(imresize(image, (9, 11)), image)


@pytest.mark.parametrize("shape", list(product((25, 48, 96, 110), (30, 64, 128))), ids=str)
def test_away_from_the_edge_pillow_gives_the_same(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(3).random((48, 64)).astype(np.float32)
    pillow = np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))
    margin = tuple(int(np.ceil(2 * max(1, new / old))) + 2 for new, old in zip(shape, image.shape, strict=True))
    inside = tuple(slice(m, -m) for m in margin)
    np.testing.assert_allclose(imresize(image, shape)[inside], pillow[inside], atol=2e-6)


def test_eight_bit_result_is_rounded_after_each_axis() -> None:
    image = np.zeros((2, 2), np.uint8)
    image[0, 0] = 255
    found = imresize(image, (4, 4))
    assert found.dtype == np.uint8
    # Shares of the first pixel in the four: 1.09375, 0.796875, 0.203125, -0.09375, so 255 (cut), 203, 52, 0 at first.
    shares, once = np.array([1.09375, 0.796875, 0.203125, -0.09375]), np.array([255, 203, 52, 0])
    expected = np.clip(np.floor(np.outer(once, shares) + 0.5), 0, 255)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("shape", "first"), [((40, 9), (20, 9)), ((9, 60), (9, 30)), ((40, 60), (40, 30))])
def test_axis_that_shrinks_most_is_resized_first(shape: tuple[int, int], first: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(imresize(image, shape), imresize(imresize(image, first), shape))
    other = shape[0] + image.shape[0] - first[0], shape[1] + image.shape[1] - first[1]
    assert (imresize(image, shape) != imresize(imresize(image, other), shape)).any()
