"""pool3d: reference, laws, edges, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from kernels.tolerances import ROUND, SUM
from reference.pool3d import pool3d as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("pool3d")


KINDS = ["mean", "max"]
SIZES = range(1, 18)
LARGE = 256  # values of a window from which on a mean sums in f64


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


WINDOWS = {
    "3 at 1": (3, 1, 1),
    "2 at 2": (2, 2, 0),
    "3 at 2": (3, 2, 1),
    "flat": ((1, 2, 5), (1, 3, 2), (0, 1, 2)),
    "wide": ((1, 1, 19), (1, 1, 4), (0, 0, 9)),
}


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_pool3d_mean_equals_reference(backend: str, window: str, include: bool, ceil_mode: bool) -> None:
    kernel, stride, padding = WINDOWS[window]
    x = normal(2, 3, 6, 9, 38)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": include,
    }
    expected = reference(x, "mean", kernel, **options)
    got = ops.pool3d(x, "mean", kernel, **options)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, (1, 3, 4)])
@pytest.mark.parametrize("window", WINDOWS)
def test_pool3d_max_equals_reference(backend: str, window: str, dilation: Any, ceil_mode: bool) -> None:
    kernel, stride, padding = WINDOWS[window]
    x = normal(2, 3, 9, 13, 80)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    np.testing.assert_array_equal(ops.pool3d(x, "max", kernel, **options), reference(x, "max", kernel, **options))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_pool3d_any_size_equals_reference(backend: str, kind: str, size: int) -> None:
    x = normal(1, 1 + size % 3, 1 + size % 4, size, 18 - size)
    options: dict[str, Any] = {"stride": (1, 2, 2), "padding": (0, 1, 1), "ceil_mode": True}
    expected = reference(x, kind, (1, 3, 3), **options)
    np.testing.assert_allclose(ops.pool3d(x, kind, (1, 3, 3), **options), expected, rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (15, 17), (16, 16), (19, 90), (300, 301)])
def test_pool3d_whole_images_equal_reference(backend: str, kind: str, size: tuple[int, int]) -> None:
    x = normal(2, 3, 1, *size) + 100  # 90,000 values of 100: a sum in f32 would be off by more than the tolerance
    got = ops.pool3d(x, kind, (1, *size))
    flat = x.astype(np.float64).reshape(2, 3, -1)
    expected = flat.mean(axis=2) if kind == "mean" else flat.max(axis=2)
    rtol = ROUND["float32"] if math.prod(size) >= LARGE else SUM["float32"]
    np.testing.assert_allclose(got.reshape(2, 3), expected, rtol=rtol)


@pytest.mark.parametrize("include", [False, True])
def test_pool3d_mean_of_large_padded_windows_equals_reference(backend: str, include: bool) -> None:
    x = normal(1, 2, 9, 20, 41)
    options: dict[str, Any] = {"stride": 4, "padding": (1, 4, 8), "count_include_pad": include, "ceil_mode": True}
    expected = reference(x, "mean", (3, 9, 17), **options)
    np.testing.assert_allclose(ops.pool3d(x, "mean", (3, 9, 17), **options), expected, rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("kind", KINDS)
def test_pool3d_nan_reaches_every_window_that_has_it(backend: str, kind: str) -> None:
    x = normal(1, 1, 1, 9, 20)
    x[..., 4, 7] = np.nan
    got = ops.pool3d(x, kind, (1, 3, 3), stride=1, padding=(0, 1, 1))
    expected = np.zeros(got.shape, bool)
    expected[..., 3:6, 6:9] = True
    np.testing.assert_array_equal(np.isnan(got), expected)


def test_pool3d_max_of_infinite_values_and_of_nothing(backend: str) -> None:
    x = np.full((1, 1, 1, 1, 3), -np.inf, np.float32)
    assert (ops.pool3d(x, "max", (1, 1, 3)) == -np.inf).all()
    got = ops.pool3d(np.ones((1, 1, 1, 1, 1)), "max", (1, 1, 2), stride=1, padding=(0, 0, 1), dilation=(1, 1, 2))
    assert (got == -np.inf).all()  # both taps lie outside, as in torch


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257])
def test_pool3d_mean_edge_sizes_equal_reference(backend: str, size: int) -> None:
    x = normal(1, 1, 1, 2, size)
    options: dict[str, Any] = {"stride": (1, 1, 2), "padding": (0, 1, 1), "count_include_pad": False}
    np.testing.assert_allclose(
        ops.pool3d(x, "mean", (1, 3, 3), **options), reference(x, "mean", (1, 3, 3), **options), atol=SUM["float32"]
    )


def test_pool3d_constant_stays_constant_where_padding_does_not_count(backend: str) -> None:
    x = np.full((1, 2, 7, 8, 9), 5.0, np.float32)
    for kind in KINDS:
        got = ops.pool3d(x, kind, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
        np.testing.assert_array_equal(got, np.full_like(got, 5.0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [2, 3])
def test_pool3d_any_number_of_threads_same_bits(backend: str, kind: str, threads: int) -> None:
    x = normal(1, 8, 200, 257)
    many = ops.pool3d(x, kind, 3, stride=1, padding=1, threads=threads)
    np.testing.assert_array_equal(many, ops.pool3d(x, kind, 3, stride=1, padding=1, threads=1))


def test_pool3d_wrong_arguments_raise() -> None:
    with pytest.raises(ValueRangeError, match="padding: got 1, 2, expected at least 1 and 0 to 1"):
        ops.pool3d(normal(1, 1, 8, 8), "mean", 3, stride=1, padding=2)
    with pytest.raises(ShapeError, match="y: got size 0"):
        ops.pool3d(normal(1, 1, 2, 2), "mean", 3)
    with pytest.raises(ValueRangeError, match="stride: got 0"):
        ops.pool3d(normal(1, 1, 8, 8), "mean", 3, stride=0)
    with pytest.raises(ValueRangeError, match="dilation: got 2, expected 1, or more for a maximum"):
        ops.pool3d(normal(1, 1, 8, 8), "mean", 3, dilation=2)
    with pytest.raises(ValueRangeError, match="kind: got 'sum', expected one of"):
        ops.pool3d(normal(1, 1, 8, 8), "sum", 3)
