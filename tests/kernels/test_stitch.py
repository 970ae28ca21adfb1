"""stitch, stitch_plane, stitch_half, stitch_half_plane: reference, laws, edges, errors."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from reference import sliding as reference

from covfast import DTypeError, ShapeError
from covfast.window_ops import stitch, stitch_half, stitch_half_plane, stitch_plane

FLIPS = [(False, False, False), (True, False, False), (False, True, True), (False, False, True)]


def numbers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def weights_of(window: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d, h, w = (np.random.default_rng(n).uniform(0.01, 1, n).astype(np.float32) for n in window)
    return d, h, w


def halves(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.001, 10, shape).astype(np.float16)


@pytest.mark.op("stitch")
@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("window", [(3, 4, 5), (2, 3, 16), (1, 7, 33), (5, 1, 270)])
def test_stitch_equals_reference(backend: str, window: tuple[int, int, int], flip: tuple[bool, ...]) -> None:
    x, weights, start = numbers((2, *window)), weights_of(window), numbers((6, 2, 8, 300), 1)
    sums = start.copy()
    stitch(sums, x, (1, 1, 7), weights, flip=flip)
    expected = reference.stitch(start.swapaxes(0, 1), x, (1, 1, 7), weights, flip)
    np.testing.assert_allclose(sums.swapaxes(0, 1), expected, rtol=0, atol=1e-6)


@pytest.mark.op("stitch")
@pytest.mark.parametrize("origin", [(-1, -2, -3), (4, 5, 20), (-2, 0, 0), (9, 0, 0), (0, -9, 0), (0, 0, 40)])
def test_stitch_leaves_out_what_lies_outside(backend: str, origin: tuple[int, int, int]) -> None:
    x, weights = numbers((3, 4, 5, 18)), weights_of((4, 5, 18))
    for flip in FLIPS:
        sums = np.zeros((7, 3, 8, 30), np.float32)
        stitch(sums, x, origin, weights, flip=flip)
        expected = reference.stitch(np.zeros((3, 7, 8, 30)), x, origin, weights, flip)
        np.testing.assert_allclose(sums.swapaxes(0, 1), expected, atol=1e-6)


@pytest.mark.op("stitch")
def test_stitch_floor_is_the_least_importance(backend: str) -> None:
    x, weights, sums = numbers((2, 4, 5, 37)), weights_of((4, 5, 37)), np.zeros((4, 2, 5, 37), np.float32)
    stitch(sums, x, (0, 0, 0), weights, floor=0.2)
    expected = reference.stitch(np.zeros((2, 4, 5, 37)), x, (0, 0, 0), weights, FLIPS[0], 0.2)
    np.testing.assert_allclose(sums.swapaxes(0, 1), expected, atol=1e-6)


@pytest.mark.op("stitch")
def test_stitch_ring_holds_planes_in_turn(backend: str) -> None:
    x, weights = numbers((2, 4, 3, 20)), weights_of((4, 3, 20))
    ring, whole = np.zeros((4, 2, 3, 20), np.float32), np.zeros((11, 2, 3, 20), np.float32)
    stitch(ring, x, (6, 0, 0), weights, depth=11)
    ring[6 % 4] = 0  # plane 6 has left, plane 10 takes its slot
    stitch(ring, x, (7, 0, 0), weights, depth=11)
    for d in (6, 7):
        stitch(whole, x, (d, 0, 0), weights)
    for d in range(7, 11):
        np.testing.assert_array_equal(ring[d % 4], whole[d])


@pytest.mark.op("stitch")
def test_stitch_strided_input_equals_its_copy(backend: str) -> None:
    weights = weights_of((3, 4, 21))
    views = (numbers((4, 21, 3, 2)).transpose(3, 2, 0, 1), np.broadcast_to(numbers((1, 3, 4, 21)), (2, 3, 4, 21)))
    for x, flip in product((*views, numbers((2, 3, 4, 42))[..., ::-2]), FLIPS):
        sums, expected = np.zeros((2, 3, 2, 4, 21), np.float32)
        stitch(sums, x, (0, 0, 0), weights, flip=flip)
        stitch(expected, x.copy(), (0, 0, 0), weights, flip=flip)
        np.testing.assert_array_equal(sums, expected)


@pytest.mark.op("stitch")
def test_stitch_any_number_of_threads_gives_the_same_bits(backend: str) -> None:
    x, weights = numbers((3, 6, 40, 50)), weights_of((6, 40, 50))
    one, four = np.zeros((2, 6, 3, 40, 50), np.float32)
    stitch(one, x, (0, 0, 0), weights, threads=1)
    stitch(four, x, (0, 0, 0), weights, threads=4)
    np.testing.assert_array_equal(one, four)


@pytest.mark.op("stitch_plane")
@pytest.mark.parametrize("width", [1, 15, 16, 17, 100])
def test_stitch_plane_equals_reference(backend: str, width: int) -> None:
    sums, (h, w, _) = numbers((3, 5, width)), weights_of((5, width, 1))
    expected = sums / (0.7 * h[:, None].astype(np.float64) * w)
    np.testing.assert_allclose(stitch_plane(sums, 0.7, h, w), expected, rtol=3e-7)


@pytest.mark.op("stitch_half")
@pytest.mark.parametrize("window", [(3, 4, 5), (2, 3, 16), (1, 7, 33), (2, 1, 300)])
def test_stitch_half_equals_numpy_to_the_bit(backend: str, window: tuple[int, int, int]) -> None:
    total, count = np.zeros((2, 5, 9, 310), np.float16), np.zeros((5, 9, 310), np.float16)
    sums, seen = np.zeros((5, 2, 9, 310), np.float16), np.zeros((5, 9, 310), np.float16)
    weight = halves(window)
    for i, (flip, origin) in enumerate(product(FLIPS, [(0, 0, 0), (1, 2, 3), (-1, -1, -1), (4, 7, 299)])):
        x = numbers((2, *window), i) * np.float32(10.0 ** (i % 7 - 4))
        reference.stitch_half(total, count, x, origin, weight, flip)
        stitch_half(sums, seen, x, origin, weight, flip=flip)
    np.testing.assert_array_equal(sums.swapaxes(0, 1).view(np.uint16), total.view(np.uint16))
    np.testing.assert_array_equal(seen.view(np.uint16), count.view(np.uint16))


def extremes() -> np.ndarray:
    """Numbers at which rounding to half precision changes its mind, some subnormal, some too great, one NaN."""
    half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (half[:-1].astype(np.float64) + half[1:]) / 2
    around = [middle, np.nextafter(middle.astype(np.float32), 0), np.nextafter(middle.astype(np.float32), 1e9)]
    wild = [65503.9, 65519.996, 65520, 65536, 1e9, 1e-30, 2.0**-25, 2.0**-24, np.inf, np.nan]
    values = np.concatenate([half, *around, wild]).astype(np.float32)
    return np.concatenate([values, -values])


@pytest.mark.op("stitch_half")
def test_stitch_half_rounds_every_number_as_numpy_does(backend: str) -> None:
    x = extremes()[None, None, None]
    sums, weight = np.zeros(x.shape, np.float16), np.ones(x.shape[1:], np.float16)
    stitch_half(sums, None, x, (0, 0, 0), weight)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(sums, (x + np.float32(0)).astype(np.float16))


@pytest.mark.op("stitch_half")
def test_stitch_half_scale_is_that_of_the_product_before(backend: str) -> None:
    x, weight = numbers((1, 2, 3, 20)), halves((2, 3, 20))
    a, b = np.zeros((2, 2, 1, 3, 20), np.float16)
    stitch_half(a, None, x, (0, 0, 0), weight, scale=0.125)
    stitch_half(b, None, x / 8, (0, 0, 0), weight)
    np.testing.assert_array_equal(a, b)


@pytest.mark.op("stitch_half_plane")
@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 15, 16, 40])
def test_stitch_half_plane_equals_numpy_to_the_bit(backend: str, folds: int, width: int) -> None:
    sums, count = numbers((folds, 3, 4, width)).astype(np.float16), halves((4, width))
    mean = sums[0] / count
    for fold in range(1, folds):
        mean = mean + sums[fold] / count
    mean = mean / np.float16(folds) if folds > 1 else mean
    np.testing.assert_array_equal(stitch_half_plane(sums, count), mean.astype(np.float32))


def test_stitch_wrong_arguments_raise() -> None:
    x, weights = numbers((2, 4, 5, 6)), weights_of((4, 5, 6))
    with pytest.raises(ShapeError, match="got a ring of 3 planes, expected as many as the window has"):
        stitch(np.zeros((3, 2, 9, 9), np.float32), x, (0, 0, 0), weights, depth=9)
    with pytest.raises(ShapeError, match="sum: got 3 channels, expected those of x, 2"):
        stitch(np.zeros((4, 3, 9, 9), np.float32), x, (0, 0, 0), weights)
    with pytest.raises(ShapeError, match="weight: got 5 numbers, expected 4"):
        stitch(np.zeros((4, 2, 9, 9), np.float32), x, (0, 0, 0), weights_of((5, 5, 6)))
    with pytest.raises(DTypeError, match="sums: got another array"):
        stitch(np.zeros((4, 2, 9, 9)), x, (0, 0, 0), weights)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="contiguous, writable array of float32"):
        stitch(np.zeros((4, 2, 9, 18), np.float32)[..., ::2], x, (0, 0, 0), weights)
    with pytest.raises(ShapeError, match="weight: got 100 numbers"):
        stitch_half(np.zeros((4, 2, 9, 9), np.float16), None, x, (0, 0, 0), np.ones(100))
    with pytest.raises(ShapeError, match="count: got 3 numbers, expected 36"):
        stitch_half_plane(np.zeros((1, 2, 4, 9)), np.zeros(3))
