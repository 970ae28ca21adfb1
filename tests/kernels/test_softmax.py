"""softmax: reference, laws, edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import EXP
from reference.pointwise import softmax as reference

from covfast import ShapeError, ops

pytestmark = pytest.mark.op("softmax")
PIECE = 1 << 10  # positions of one item of the CPU kernel


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_softmax_equals_reference(backend: str, channels: int) -> None:
    x = 20 * normal(2, channels, 3, 5, 7)
    np.testing.assert_allclose(ops.softmax(x), reference(x), rtol=0, atol=EXP["float32"])


def test_softmax_sums_to_one_and_ignores_a_shift(backend: str) -> None:
    x = normal(1, 4, 30, 41)
    y = ops.softmax(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=EXP["float32"])
    np.testing.assert_allclose(ops.softmax(x + 1000), y, atol=5e-4)  # x + 1000 itself is rounded to 6e-5


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 15, 16, 17, 24])
@pytest.mark.parametrize("size", [1, 2, 7, 17])
def test_softmax_logarithm_equals_reference(backend: str, channels: int, size: int) -> None:
    x = 20 * normal(2, channels, 3, size, 18 - size)
    expected = reference(x, log=True)
    np.testing.assert_allclose(ops.softmax(x, log=True), expected, rtol=3e-7, atol=channels * EXP["float32"])


def test_softmax_logarithm_of_far_values_stays_finite(backend: str) -> None:
    x = np.array([0, 1000, -1000, 1000], np.float32).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(
        ops.softmax(x, log=True).ravel(), np.array([-1000, 0, -2000, 0]) - np.log(2), rtol=0, atol=2e-4
    )


def test_softmax_nan_stays_at_its_position(backend: str) -> None:
    x = normal(1, 3, 4, 5)
    x[0, 1, 2, 2] = np.nan
    for log in (False, True):
        got = np.isnan(ops.softmax(x, log=log))
        assert got[:, :, 2, 2].all()
        assert got.sum() == 3


@pytest.mark.parametrize("n", [1, PIECE - 1, PIECE, PIECE + 1])
def test_softmax_edge_sizes_equal_reference(backend: str, n: int) -> None:
    x = normal(1, 3, 1, n)
    np.testing.assert_allclose(ops.softmax(x), reference(x), rtol=0, atol=EXP["float32"])


@pytest.mark.parametrize("threads", [2, 3])
def test_softmax_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x = normal(1, 3, 100, 501)
    np.testing.assert_array_equal(ops.softmax(x, threads=threads), ops.softmax(x, threads=1))


def test_softmax_without_channels_raises() -> None:
    with pytest.raises(ShapeError, match="expected at least one channel"):
        ops.softmax(np.zeros((1, 0, 3, 3)))
