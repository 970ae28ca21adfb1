"""spatial_pyramid: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.epilogue import apply
from reference.spatial_pyramid import spatial_pyramid as reference

from covfast import ShapeError, ValueRangeError
from covfast.planar_ops import Epilogue, spatial_pyramid

pytestmark = pytest.mark.op("spatial_pyramid")
Array = np.ndarray[Any, Any]
PLAIN = Epilogue()


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def weights(branches: int, m: int, outputs: int) -> tuple[Array, Array, Array]:
    """Branch, gate and fuse weights; `outputs` are those of one branch."""
    return normal(branches, m, 3, 3, seed=1), normal(branches, m, seed=2), normal(branches * outputs, m, seed=3)


def assert_close(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=2 * SUM["float32"] * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("m", "outputs", "size"),
    [(6, 6, (37, 70)), (8, 8, (24, 64)), (16, 16, (32, 32)), (1, 1, (9, 5)), (3, 17, (20, 33)), (12, 5, (8, 130))],
)
def test_spatial_pyramid_equals_reference(
    backend: str, m: int, outputs: int, size: tuple[int, int], stride: int
) -> None:
    x, (branch, gate, fuse) = normal(1, m, *size), weights(4, m, outputs)
    bias = normal(4, seed=4)
    y, total = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, gate_bias=bias, stride=stride)
    assert total is None
    assert_close(y, reference(x, branch, gate, fuse, (1, 2, 4, 8), bias, stride))


@pytest.mark.parametrize("activation", ["none", "leaky", "sigmoid"])
def test_spatial_pyramid_with_an_epilogue_equals_reference(backend: str, activation: str) -> None:
    x, (branch, gate, fuse) = normal(1, 6, 19, 37), weights(4, 6, 6)
    shape = (1, 24, 19, 37)
    epilogue = Epilogue(
        normal(24, seed=5), activation, normal(24, seed=6), *(normal(*shape, seed=seed) for seed in (7, 8, 9))
    )
    y, total = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), epilogue)
    expected, expected_total = apply(reference(x, branch, gate, fuse, (1, 2, 4, 8)), epilogue)
    assert_close(y, expected)
    assert total is not None
    assert expected_total is not None
    assert_close(total, expected_total)


@pytest.mark.parametrize("dilation", [(1,), (2, 1), (3, 5, 16), (1, 2, 40, 8), (100, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_spatial_pyramid_of_any_branches_equals_reference(backend: str, dilation: tuple[int, ...], stride: int) -> None:
    x, (branch, gate, fuse) = normal(1, 5, 23, 41), weights(len(dilation), 5, 3)
    y, _ = spatial_pyramid(x, branch, gate, fuse, dilation, PLAIN, stride=stride)
    assert_close(y, reference(x, branch, gate, fuse, dilation, None, stride))


@pytest.mark.parametrize("width", [512, 1024, 1056, 8192])
@pytest.mark.parametrize("dilation", [(64,), (100, 3)])
def test_spatial_pyramid_of_wide_rows_equals_reference(backend: str, dilation: tuple[int, ...], width: int) -> None:
    x, (branch, gate, fuse) = normal(1, 1, 3, width), weights(len(dilation), 1, 9)
    y, _ = spatial_pyramid(x, branch, gate, fuse, dilation, PLAIN)
    assert_close(y, reference(x, branch, gate, fuse, dilation))


def test_spatial_pyramid_of_minus_infinity_becomes_zero_by_relu_alone(backend: str) -> None:
    x, (branch, gate, fuse) = normal(1, 6, 9, 37), weights(2, 6, 6)
    slope = np.arange(12, dtype=np.float32) % 3
    epilogue = Epilogue(activation="leaky", slope=slope, before=np.full((1, 12, 9, 37), -np.inf, np.float32))
    y, _ = spatial_pyramid(x, branch, gate, fuse, (1, 4), epilogue)
    expected = np.where(slope == 0, 0, -np.inf).reshape(-1, 1, 1)
    np.testing.assert_array_equal(y[0], np.broadcast_to(expected, (12, 9, 37)))


@pytest.mark.parametrize("m", [2, 7, 15, 17, 24, 40, 128])
def test_spatial_pyramid_of_any_channels_equals_reference(backend: str, m: int) -> None:
    x, (branch, gate, fuse) = normal(1, m, 9, 50), weights(4, m, 9)
    y, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN)
    assert_close(y, reference(x, branch, gate, fuse, (1, 2, 4, 8)))


@pytest.mark.parametrize("size", range(1, 71, 3))
def test_spatial_pyramid_of_every_size_equals_reference(backend: str, size: int) -> None:
    x, (branch, gate, fuse) = normal(1, 2, size, 71 - size), weights(4, 2, 2)
    for stride in (1, 2):
        y, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, stride=stride)
        assert_close(y, reference(x, branch, gate, fuse, (1, 2, 4, 8), None, stride))


def test_spatial_pyramid_with_closed_gates_is_linear(backend: str) -> None:
    x, (branch, gate, fuse) = normal(1, 4, 12, 20), weights(4, 4, 4)
    closed = np.full(4, -1e4, np.float32)  # sigmoid 0
    y, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, gate_bias=closed)
    twice, _ = spatial_pyramid(2 * x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, gate_bias=closed)
    np.testing.assert_array_equal(twice, 2 * y)


def test_spatial_pyramid_nan_reaches_what_sees_it_and_nothing_else(backend: str) -> None:
    x, (branch, gate, fuse) = normal(1, 4, 30, 60), weights(4, 4, 4)
    x[0, 1, 11, 33] = np.nan
    y, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(reference(x, branch, gate, fuse, (1, 2, 4, 8))))


@pytest.mark.parametrize("m", [6, 40])
def test_spatial_pyramid_any_number_of_threads_same_bits(backend: str, m: int) -> None:
    x, (branch, gate, fuse) = normal(1, m, 65, 67), weights(4, m, 6)
    one, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, threads=1)
    many, _ = spatial_pyramid(x, branch, gate, fuse, (1, 2, 4, 8), PLAIN, threads=3)
    np.testing.assert_array_equal(many, one)


@pytest.mark.parametrize(
    ("m", "dilation", "stride", "error", "match"),
    [
        (4, (1, 0), 1, ValueRangeError, "dilation: got 0, expected at least 1"),
        (4, (1, 2), 0, ValueRangeError, "stride: got 0, expected at least 1"),
        (129, (1, 2), 1, ShapeError, "x, fuse_weight: got 129 channels"),
        (4, (1, 2, 4, 8, 16), 1, ShapeError, "dilation: got 5 numbers, expected 1 to 4"),
        (4, (1, 2, 4), 1, ShapeError, "branch_weight, gate_weight: got"),
    ],
)
def test_spatial_pyramid_wrong_arguments_raise(
    m: int, dilation: tuple[int, ...], stride: int, error: type[Exception], match: str
) -> None:
    branches = 2 if len(dilation) == 3 else len(dilation)
    branch, gate, fuse = weights(branches, m, 2)
    with pytest.raises(error, match=match):
        spatial_pyramid(normal(1, m, 4, 4), branch, gate, fuse, dilation, PLAIN, stride=stride)
