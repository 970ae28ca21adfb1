"""conv3d: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.conv3d import conv3d as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("conv3d")
TILE = 256  # columns of one item of the CPU kernel


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=SUM["float32"] * max(1.0, float(np.abs(expected).max())))


CASES = {
    "dense 3x3x3": ((2, 3, 5, 9, 11), (5, 3, 3, 3, 3), {"padding": 1}),
    "pointwise": ((2, 9, 3, 7, 50), (7, 9, 1, 1, 1), {}),
    "pointwise grouped": ((1, 8, 1, 9, 70), (12, 2, 1, 1, 1), {"groups": 4}),
    "pointwise strided": ((1, 5, 4, 9, 11), (6, 5, 1, 1, 1), {"stride": 2}),
    "depthwise dilated": (
        (1, 4, 1, 20, 37),
        (4, 1, 1, 3, 3),
        {"padding": (0, 8, 8), "dilation": (1, 8, 8), "groups": 4},
    ),
    "depthwise 5 strided": (
        (1, 4, 1, 21, 38),
        (4, 1, 1, 5, 5),
        {"padding": (0, 2, 2), "stride": (1, 2, 2), "groups": 4},
    ),
    "anisotropic": ((1, 2, 6, 9, 13), (3, 2, 1, 3, 5), {"padding": (0, 1, 2), "stride": (1, 2, 3)}),
    "7 wide": ((1, 2, 1, 9, 23), (2, 2, 1, 1, 7), {"padding": (0, 0, 3)}),
    "no padding": ((1, 3, 4, 5, 6), (4, 3, 2, 3, 4), {}),
    "6 of a group": ((1, 4, 1, 5, 33), (12, 2, 1, 3, 3), {"padding": (0, 1, 1), "groups": 2}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_conv3d_equals_reference(backend: str, case: str, has_bias: bool) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    b = normal(w_shape[0], seed=2) if has_bias else None
    assert_close(ops.conv3d(x, w, b, **options), reference(x, w, b, **options))


def test_conv3d_2d_equals_depth_one(backend: str) -> None:
    x, w = normal(2, 3, 8, 9), normal(4, 3, 3, 3, seed=1)
    deep = ops.conv3d(x[:, :, None], w[:, :, None], padding=(0, 1, 1), stride=(1, 2, 2))
    np.testing.assert_array_equal(ops.conv3d(x, w, padding=1, stride=2), deep[:, :, 0])


def test_conv3d_identity_kernel_gives_the_input(backend: str) -> None:
    x = normal(1, 3, 2, 5, 300)
    w = np.zeros((3, 1, 3, 3, 3), np.float32)
    w[:, 0, 1, 1, 1] = 1
    np.testing.assert_array_equal(ops.conv3d(x, w, padding=1, groups=3), x)


def test_conv3d_mirrored_axes_give_mirrored_output(backend: str) -> None:
    x, w = normal(1, 2, 5, 7, 9), normal(3, 2, 3, 3, 3, seed=1)
    mirrored = ops.conv3d(x[..., ::-1, ::-1, ::-1], w[..., ::-1, ::-1, ::-1], padding=1)
    assert_close(mirrored[..., ::-1, ::-1, ::-1], ops.conv3d(x, w, padding=1).astype(np.float64))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("case", ["dense", "pointwise"])
def test_conv3d_any_number_of_threads_same_bits(backend: str, case: str, threads: int) -> None:
    x = normal(1, 16, 3, 65, 257)
    w = normal(6, 16, *((3, 3, 3) if case == "dense" else (1, 1, 1)), seed=1)
    np.testing.assert_array_equal(ops.conv3d(x, w, padding=1, threads=threads), ops.conv3d(x, w, padding=1, threads=1))


@pytest.mark.parametrize("width", [1, 2, 15, 16, 17, TILE - 1, TILE, TILE + 1])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv3d_edge_sizes_equal_reference(backend: str, width: int, stride: int) -> None:
    x, w = normal(1, 2, 1, 3, width), normal(3, 2, 1, 3, 3, seed=1)
    options: dict[str, Any] = {"padding": (0, 1, 1), "stride": (1, 1, stride)}
    assert_close(ops.conv3d(x, w, **options), reference(x, w, **options))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_conv3d_dilation_larger_than_image_sees_the_centre(backend: str, size: int) -> None:
    x, w = normal(1, 3, 1, size, size), normal(3, 1, 1, 3, 3, seed=1)
    options: dict[str, Any] = {"padding": (0, 16, 16), "dilation": (1, 16, 16), "groups": 3}
    got = ops.conv3d(x, w, **options)
    assert_close(got, reference(x, w, **options))
    assert_close(got, x.astype(np.float64) * w[:, 0, 0, 1, 1].reshape(1, 3, 1, 1, 1))


def test_conv3d_empty_batch_gives_empty(backend: str) -> None:
    assert ops.conv3d(normal(1, 2, 4, 4), normal(3, 2, 1, 1)).shape == (1, 3, 4, 4)  # so that the backend has run
    assert ops.conv3d(np.zeros((0, 2, 4, 4)), normal(3, 2, 1, 1)).shape == (0, 3, 4, 4)


def test_conv3d_inputs_are_not_changed(backend: str) -> None:
    x, w = normal(1, 2, 5, 5), normal(2, 2, 3, 3)
    kept = x.copy(), w.copy()
    ops.conv3d(x, w)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(w, kept[1])


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "match"),
    [
        ((1, 2, 4), (2, 2, 3), {}, ShapeError, "x: got shape"),
        ((1, 2, 4, 4), (2, 3, 3, 3), {}, ShapeError, "weight: got 3 input channels"),
        ((1, 4, 4, 4), (3, 2, 1, 1), {"groups": 2}, ShapeError, "groups: got 2, expected a divisor"),
        ((1, 2, 2, 2), (2, 2, 5, 5), {}, ShapeError, "y: got size 0"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"stride": 0}, ValueRangeError, "stride, dilation, padding"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"padding": (1, 1, 1)}, ShapeError, "padding: got"),
    ],
)
def test_conv3d_wrong_arguments_raise(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        ops.conv3d(normal(*x), normal(*w), **options)


def test_conv3d_bias_of_another_length_raises() -> None:
    with pytest.raises(ShapeError, match="bias: got 3 numbers, expected 2"):
        ops.conv3d(normal(1, 2, 4, 4), normal(2, 2, 3, 3), np.zeros(3))
