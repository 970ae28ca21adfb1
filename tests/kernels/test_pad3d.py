"""pad3d: exact copies, cuts, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.windows import pad

from covfast import ShapeError, ops

pytestmark = pytest.mark.op("pad3d")


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("value", [0.0, -1.5, np.nan])
@pytest.mark.parametrize(("before", "after"), [(1, 2), ((0, 3, 1), (2, 0, 0)), ((0, 0, 20), (0, 0, 0)), (0, 0)])
def test_pad3d_equals_numpy(backend: str, before: Any, after: Any, value: float) -> None:
    x = normal(2, 3, 4, 5, 6)
    three = [v if isinstance(v, tuple) else (v,) * 3 for v in (before, after)]
    np.testing.assert_array_equal(ops.pad3d(x, before, after, value), pad(x, *three, value))


@pytest.mark.parametrize("size", range(1, 18))
def test_pad3d_any_size_equals_numpy(backend: str, size: int) -> None:
    x = normal(1, 1 + size % 3, size, 18 - size)
    deep = pad(x[:, :, None], (0, size, 1), (0, 1, size))
    np.testing.assert_array_equal(ops.pad3d(x, (size, 1), (1, size)), deep[:, :, 0])


def test_pad3d_negative_cuts(backend: str) -> None:
    x = normal(2, 3, 6, 7, 8)
    np.testing.assert_array_equal(ops.pad3d(x, (-1, -2, 0), (0, -3, -4)), x[:, :, 1:, 2:-3, :-4])


def test_pad3d_cut_on_one_side_and_filled_on_the_other(backend: str) -> None:
    x = normal(1, 2, 1, 5, 6)
    expected = pad(x[..., 2:, :-3], (0, 0, 4), (0, 1, 0), 9)
    np.testing.assert_array_equal(ops.pad3d(x, (0, -2, 4), (0, 1, -3), 9), expected)
    np.testing.assert_array_equal(ops.pad3d(x, (0, 0, -8), (0, 0, 5), 2), np.full((1, 2, 1, 5, 3), 2))  # beyond x
    np.testing.assert_array_equal(ops.pad3d(x, (0, 0, 5), (0, 0, -8), 2), np.full((1, 2, 1, 5, 3), 2))


@pytest.mark.parametrize("threads", [2, 3])
def test_pad3d_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 3, 100, 301)
    np.testing.assert_array_equal(ops.pad3d(x, 1, 2, threads=threads), ops.pad3d(x, 1, 2, threads=1))


def test_pad3d_that_leaves_nothing_raises() -> None:
    with pytest.raises(ShapeError, match="before, after: got -2 and -2, expected to leave something of a size of 4"):
        ops.pad3d(normal(1, 1, 4, 4), -2, -2)
    with pytest.raises(ShapeError, match="before: got"):
        ops.pad3d(normal(1, 1, 4, 4), (1, 1, 1), 0)
