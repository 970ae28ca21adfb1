"""group_norm: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import NORM
from reference.group_norm import group_norm as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("group_norm")
PIECE = 1 << 14  # values of one item of the CPU kernel


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=NORM["float32"] * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (3, 3), (6, 2), (7, 1), (15, 5), (16, 16), (17, 17), (24, 8)])
@pytest.mark.parametrize("has_affine", [True, False])
def test_group_norm_equals_reference(backend: str, channels: int, groups: int, has_affine: bool) -> None:
    x = 3 * normal(2, channels, 5, 6, 7) + 2
    affine = [normal(channels, seed=1), normal(channels, seed=2)] if has_affine else [None, None]
    assert_close(ops.group_norm(x, groups, *affine), reference(x, groups, *affine))


@pytest.mark.parametrize("size", range(1, 18))
def test_group_norm_any_size_equals_reference(backend: str, size: int) -> None:
    x, w = normal(2, 6, 1 + size % 4, size, 18 - size), normal(6, seed=1)
    for groups in (1, 3, 6):
        assert_close(ops.group_norm(x, groups, w, w), reference(x, groups, w, w))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("n", [PIECE // 2, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_group_norm_of_many_pieces_equals_reference(backend: str, groups: int, n: int) -> None:
    x = normal(1, 2, 1, n) + np.linspace(-3, 3, n, dtype=np.float32)  # pieces with different means
    assert_close(ops.group_norm(x, groups), reference(x, groups))


def test_group_norm_far_from_zero_keeps_its_digits(backend: str) -> None:
    x = normal(1, 3, 80, 300) + np.float32(1000)  # sums of squares in f32 would leave nothing of the variance
    assert_close(ops.group_norm(x, 3), reference(x, 3))


def test_group_norm_gives_mean_0_and_variance_1_and_ignores_scale_and_shift(backend: str) -> None:
    x = normal(2, 4, 30, 41)
    y = ops.group_norm(x, 4, eps=0)
    np.testing.assert_allclose(y.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=(2, 3)), 1, atol=1e-5)
    assert_close(ops.group_norm(4 * x + 8, 4, eps=0), y.astype(np.float64))


def test_group_norm_constant_gives_the_bias(backend: str) -> None:
    x = np.full((1, 2, 3, 4, 5), 0.1, np.float32)
    got = ops.group_norm(x, 2, [2, 3], [5, -7])
    np.testing.assert_allclose(got, np.broadcast_to(np.array([5, -7.0]).reshape(1, 2, 1, 1, 1), x.shape), atol=1e-5)


def test_group_norm_images_do_not_see_each_other(backend: str) -> None:
    x = normal(3, 4, 17, 19)
    alone = np.concatenate([ops.group_norm(image[None], 2) for image in x])
    np.testing.assert_array_equal(ops.group_norm(x, 2), alone)


def test_group_norm_nan_stays_in_its_group(backend: str) -> None:
    x = normal(2, 4, 5, 6)
    x[1, 2, 3, 3] = np.nan
    got = np.isnan(ops.group_norm(x, 2))
    assert got[1, 2:].all()
    assert got.sum() == 2 * 30


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("groups", [1, 4])
def test_group_norm_any_number_of_threads_same_bits(backend: str, groups: int, threads: int) -> None:
    x = normal(1, 4, 200, 257)
    np.testing.assert_array_equal(ops.group_norm(x, groups, threads=threads), ops.group_norm(x, groups, threads=1))


def test_group_norm_empty_batch_gives_empty(backend: str) -> None:
    assert ops.group_norm(normal(1, 2, 4, 4), 2).shape == (1, 2, 4, 4)  # so that the backend has run
    assert ops.group_norm(np.zeros((0, 2, 4, 4)), 2).shape == (0, 2, 4, 4)


def test_group_norm_wrong_arguments_raise() -> None:
    x = normal(1, 4, 3, 3)
    with pytest.raises(ShapeError, match="groups: got 3, expected a divisor of 4"):
        ops.group_norm(x, 3)
    with pytest.raises(ShapeError, match="groups: got 0"):
        ops.group_norm(x, 0)
    with pytest.raises(ShapeError, match="weight, bias: got 3 numbers, expected 4"):
        ops.group_norm(x, 4, [1, 2, 3])
    for eps in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueRangeError, match="eps: got"):
            ops.group_norm(x, 4, eps=eps)
