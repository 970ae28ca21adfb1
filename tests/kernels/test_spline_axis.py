"""Resampling by B-splines: reference, published numbers, other tools, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.spline import coefficients, matrix, resize

from covfast import ShapeError, ValueRangeError, _core, resample_ops

TOLERANCE = 2e-6  # of values up to about 4
SIZES = [((9, 13, 17), (5, 20, 11)), ((1, 7, 33), (3, 7, 90)), ((40, 1, 1), (13, 1, 5)), ((3, 130, 5), (3, 61, 9))]


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.op("spline_axis")
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("shape", "size"), SIZES)
def test_resize_equals_reference(
    backend: str, shape: tuple[int, int, int], size: tuple[int, int, int], order: int
) -> None:
    x = noise(shape)
    np.testing.assert_allclose(resample_ops.resize_spline(x, size, order=order), resize(x, size, order), atol=TOLERANCE)


@pytest.mark.op("spline_axis")
def test_resize_gives_published_numbers(backend: str) -> None:
    x = 10 * np.sin(1.7 * np.arange(60)).reshape(3, 4, 5)
    cubic = resample_ops.resize_spline(x, (5, 6, 7))
    np.testing.assert_allclose(cubic[0, 0, :3], [-3.41946303, 8.07269196, 9.997929], rtol=1e-6)
    np.testing.assert_allclose(cubic[2, 3, 4], -8.36437006127313, rtol=1e-6)
    np.testing.assert_allclose(cubic.sum(dtype=np.float64), -1.9621157315513962, atol=1e-4)
    linear = resample_ops.resize_spline(x, (5, 6, 7), order=1)
    np.testing.assert_allclose(linear[0, 0, :3], [0, 5.66665606, 6.35320264], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(linear.sum(dtype=np.float64), -2.5870897439788756, atol=1e-4)


def test_reference_prefilter_gives_published_coefficients() -> None:
    x = np.array([0, 1, 4, 9, 16, 7, 3, 2.0])
    expected = [-0.10162, 0.5081, 4.069219, 7.215022, 21.070692, 4.502209, 2.920471, 1.815906]
    # scipy's reflects at the line's ends instead of continuing the edge values: the same in the middle.
    np.testing.assert_allclose((coefficients(8) @ x)[-48:][3:5], expected[3:5], atol=2e-2)
    scipy = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    padded = scipy.spline_filter1d(np.pad(x, 40, mode="edge"), 3, mode="nearest")
    np.testing.assert_allclose(coefficients(8) @ x, padded, atol=1e-12)
    np.testing.assert_allclose(scipy.spline_filter1d(x, 3, mode="nearest"), expected, atol=1e-6)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("shape", "size"), [*SIZES, ((21, 30), (40, 17)), ((5, 600), (5, 301)), ((1, 1), (4, 1))])
def test_resize_equals_scipy(shape: tuple[int, ...], size: tuple[int, ...], order: int) -> None:
    scipy = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    x = noise(shape)
    zoom = [n / m for n, m in zip(size, shape, strict=True)]
    expected = scipy.zoom(x.astype(np.float64), zoom, order=order, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(resample_ops.resize_spline(x, size, order=order, clip=False), expected, atol=TOLERANCE)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_resize_equals_skimage_with_clipping(order: int) -> None:
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    x = (noise((12, 20, 14)) > 0).astype(np.float32) * 1000
    for size in ((24, 20, 31), (5, 9, 14), (1, 40, 3)):
        expected = transform.resize(x.astype(np.float64), size, order, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(resample_ops.resize_spline(x, size, order=order), expected, atol=1e-3)


@pytest.mark.op("spline_axis")
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 64, 130])
@pytest.mark.parametrize("n", [1, 2, 3, 500, 515, 1100, 2100])
def test_resize_any_length_and_number_of_columns(backend: str, n: int, columns: int) -> None:
    x, n_out = noise((n, columns)), max(1, n // 2 + 3)
    expected = resize(x, (n_out, columns), 3, clip=False) if n < 600 else None
    down = resample_ops.resize_spline(x, (n_out, columns), clip=False)
    across = resample_ops.resize_spline(np.ascontiguousarray(x.T), (columns, n_out), clip=False)
    np.testing.assert_allclose(across.T, down, atol=TOLERANCE)
    if expected is not None:
        np.testing.assert_allclose(down, expected, atol=TOLERANCE)


@pytest.mark.op("spline_axis")
def test_resize_of_very_long_lines_is_the_same_far_from_the_ends(backend: str) -> None:
    x = noise((9000, 3))
    whole = resample_ops.resize_spline(x, (4500, 3), clip=False)
    part = resample_ops.resize_spline(x[3000:6000], (1500, 3), clip=False)
    np.testing.assert_allclose(whole[1520:2980], part[20:-20], atol=TOLERANCE)


@pytest.mark.op("spline_axis")
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("n_in", "n_out"), [(30, 17), (17, 30), (8, 8), (1, 5), (5, 1)])
def test_columns_in_place_equal_those_apart(backend: str, n_in: int, n_out: int, order: int) -> None:
    x = np.zeros((max(n_in, n_out), 150), np.float32)
    x[:n_in] = noise((n_in, 150))
    expected = x[:n_in].T.astype(np.float64) @ matrix(n_in, n_out, order).T
    _core.spline_columns(x, n_in, n_out, order, "auto", 0)
    np.testing.assert_allclose(x[:n_out], expected.T, atol=TOLERANCE)


@pytest.mark.op("spline_axis")
@pytest.mark.parametrize("value", [0.0, -1024.0, 7.3])
def test_resize_constant_stays_constant(backend: str, value: float) -> None:
    y = resample_ops.resize_spline(np.full((6, 65, 33), value), (9, 31, 70))
    np.testing.assert_array_equal(y, np.float32(value))


@pytest.mark.op("spline_axis")
def test_resize_line_is_a_line_inside(backend: str) -> None:
    x = np.arange(60, dtype=np.float32)
    y = resample_ops.resize_spline(x, (40,))
    np.testing.assert_allclose(y[12:-12], ((np.arange(40) + 0.5) * 1.5 - 0.5)[12:-12], rtol=1e-6)


@pytest.mark.op("spline_axis")
def test_resize_mirrored_input_gives_mirrored_output(backend: str) -> None:
    x = noise((40, 50), 1)
    np.testing.assert_allclose(
        resample_ops.resize_spline(x[::-1, ::-1], (23, 81)),
        resample_ops.resize_spline(x, (23, 81))[::-1, ::-1],
        atol=TOLERANCE,
    )


@pytest.mark.op("spline_axis")
@pytest.mark.parametrize("threads", [2, 3])
def test_resize_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = noise((30, 70, 90), 2)
    one = resample_ops.resize_spline(x, (41, 111, 60), threads=1)
    np.testing.assert_array_equal(resample_ops.resize_spline(x, (41, 111, 60), threads=threads), one)


def test_resize_of_wrong_arguments_raises() -> None:
    with pytest.raises(ShapeError, match=r"size: got \(3, 3, 3\), expected 2 numbers"):
        resample_ops.resize_spline(np.zeros((4, 4)), (3, 3, 3))
    with pytest.raises(ShapeError, match="size: got 4 to 0, expected at least 1"):
        resample_ops.resize_spline(np.zeros((4, 4)), (0, 4))
    with pytest.raises(ValueRangeError, match="order: got 2, expected 0, 1 or 3"):
        resample_ops.resize_spline(np.zeros((4, 4)), (3, 4), order=2)
    with pytest.raises(ShapeError, match="expected sizes of 0 or more and an axis of 1 to 30000"):
        resample_ops.resize_spline(np.zeros((30001, 1)), (3, 1))
