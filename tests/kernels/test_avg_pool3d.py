"""avg_pool3d: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.avg_pool3d import avg_pool3d as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("avg_pool3d")


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
def test_avg_pool3d_equals_reference(backend: str, window: str, include: bool, ceil_mode: bool) -> None:
    kernel, stride, padding = WINDOWS[window]
    x = normal(2, 3, 6, 9, 38)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": include,
    }
    expected = reference(x, kernel, **options)
    got = ops.avg_pool3d(x, kernel, **options)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=SUM["float32"])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257])
def test_avg_pool3d_edge_sizes_equal_reference(backend: str, size: int) -> None:
    x = normal(1, 1, 1, 2, size)
    options: dict[str, Any] = {"stride": (1, 1, 2), "padding": (0, 1, 1), "count_include_pad": False}
    np.testing.assert_allclose(
        ops.avg_pool3d(x, (1, 3, 3), **options), reference(x, (1, 3, 3), **options), atol=SUM["float32"]
    )


def test_avg_pool3d_constant_stays_constant_where_padding_does_not_count(backend: str) -> None:
    x = np.full((1, 2, 7, 8, 9), 5.0, np.float32)
    got = ops.avg_pool3d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
    np.testing.assert_array_equal(got, np.full_like(got, 5.0))


@pytest.mark.parametrize("threads", [2, 3])
def test_avg_pool3d_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 8, 200, 257)
    many = ops.avg_pool3d(x, 3, stride=1, padding=1, threads=threads)
    np.testing.assert_array_equal(many, ops.avg_pool3d(x, 3, stride=1, padding=1, threads=1))


def test_avg_pool3d_wrong_arguments_raise() -> None:
    with pytest.raises(ValueRangeError, match="padding: got 1, 2, expected at least 1 and 0 to 1"):
        ops.avg_pool3d(normal(1, 1, 8, 8), 3, stride=1, padding=2)
    with pytest.raises(ShapeError, match="y: got size 0"):
        ops.avg_pool3d(normal(1, 1, 2, 2), 3)
    with pytest.raises(ValueRangeError, match="stride: got 0"):
        ops.avg_pool3d(normal(1, 1, 8, 8), 3, stride=0)
