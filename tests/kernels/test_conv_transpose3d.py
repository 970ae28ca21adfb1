"""conv_transpose3d: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.conv_transpose3d import conv_transpose3d as reference

from covfast import ShapeError, ValueRangeError, ops

pytestmark = pytest.mark.op("conv_transpose3d")
TILE = 256  # outputs of one phase of one item of the CPU kernel


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=SUM["float32"] * max(1.0, float(np.abs(expected).max())))


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "kernel is stride": ((2, 6, 3, 4, 5), (6, 5, 2, 2, 2), {"stride": 2}),
    "flat": ((1, 7, 3, 5, 6), (7, 3, 1, 2, 2), {"stride": (1, 2, 2)}),
    "overlapping": ((2, 3, 4, 5, 6), (3, 6, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "gaps": ((1, 2, 3, 3, 4), (2, 3, 2, 1, 2), {"stride": 3, "output_padding": (0, 2, 1)}),
    "dilated": ((1, 2, 4, 5, 6), (2, 9, 2, 3, 3), {"stride": (1, 2, 3), "dilation": (2, 3, 2), "padding": (1, 0, 2)}),
    "grouped": ((2, 6, 2, 5, 7), (6, 2, 2, 4, 4), {"stride": 2, "padding": (0, 1, 1), "groups": 3}),
    "depthwise": ((1, 5, 1, 6, 9), (5, 1, 1, 4, 4), {"stride": (1, 2, 2), "padding": (0, 1, 1), "groups": 5}),
    "stride 1": ((1, 3, 4, 5, 6), (3, 4, 3, 2, 3), {"padding": (1, 0, 1)}),
    "anisotropic": ((1, 2, 3, 4, 5), (2, 3, 1, 3, 5), {"stride": (1, 3, 5), "padding": (0, 0, 2)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_conv_transpose3d_equals_reference(backend: str, case: str, has_bias: bool) -> None:
    x_shape, w_shape, options = CASES[case]
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    b = normal(w_shape[1] * options.get("groups", 1), seed=2) if has_bias else None
    assert_close(ops.conv_transpose3d(x, w, b, **options), reference(x, w, b, **options))


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 15, 16, 17, 24])
def test_conv_transpose3d_any_channels_equal_reference(backend: str, channels: int) -> None:
    x, w = normal(1, 25 - channels, 2, 3, 4), normal(25 - channels, channels, 2, 2, 2, seed=1)
    assert_close(ops.conv_transpose3d(x, w, stride=2), reference(x, w, stride=2))


@pytest.mark.parametrize("size", range(1, 18))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_transpose3d_any_size_equals_reference(backend: str, size: int, stride: int) -> None:
    x, w = normal(1, 2, 1 + size % 3, size, 18 - size), normal(2, 3, 2, 3, 3, seed=1)
    options: dict[str, Any] = {"stride": stride, "padding": (0, 1, 1)}
    assert_close(ops.conv_transpose3d(x, w, **options), reference(x, w, **options))


@pytest.mark.parametrize("width", [TILE - 1, TILE, TILE + 1])
def test_conv_transpose3d_edge_sizes_equal_reference(backend: str, width: int) -> None:
    x, w = normal(1, 2, 1, 2, width), normal(2, 3, 1, 3, 3, seed=1)
    options: dict[str, Any] = {"stride": (1, 1, 2), "padding": (0, 1, 1)}
    assert_close(ops.conv_transpose3d(x, w, **options), reference(x, w, **options))


def test_conv_transpose3d_2d_equals_depth_one(backend: str) -> None:
    x, w = normal(2, 3, 8, 9), normal(3, 4, 2, 2, seed=1)
    deep = ops.conv_transpose3d(x[:, :, None], w[:, :, None], stride=(1, 2, 2))
    np.testing.assert_array_equal(ops.conv_transpose3d(x, w, stride=2), deep[:, :, 0])


def test_conv_transpose3d_is_the_adjoint_of_the_convolution(backend: str) -> None:
    x, w = normal(1, 3, 5, 6, 7), normal(4, 3, 3, 3, 3, seed=1)
    options: dict[str, Any] = {"stride": 2, "padding": 1}
    y = ops.conv3d(x, w, **options)
    g = normal(*y.shape, seed=2)
    back = ops.conv_transpose3d(g, w, output_padding=(0, 1, 0), **options)
    products = [np.sum(a.astype(np.float64) * b) for a, b in ((y, g), (x, back))]
    assert products[0] == pytest.approx(products[1], rel=1e-5)


def test_conv_transpose3d_kernel_of_ones_repeats_the_samples(backend: str) -> None:
    x = normal(1, 3, 2, 5, 70)
    y = ops.conv_transpose3d(x, np.ones((3, 1, 2, 3, 2)), stride=(2, 3, 2), groups=3)
    np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(3, 3).repeat(2, 4))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_conv_transpose3d_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x, w = normal(1, 16, 3, 33, 65), normal(16, 6, 2, 2, 2, seed=1)
    many = ops.conv_transpose3d(x, w, stride=2, threads=threads)
    np.testing.assert_array_equal(many, ops.conv_transpose3d(x, w, stride=2, threads=1))


def test_conv_transpose3d_empty_batch_gives_empty(backend: str) -> None:
    assert ops.conv_transpose3d(normal(1, 2, 4, 4), normal(2, 3, 2, 2), stride=2).shape == (1, 3, 8, 8)
    assert ops.conv_transpose3d(np.zeros((0, 2, 4, 4)), normal(2, 3, 2, 2), stride=2).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "match"),
    [
        ((1, 2, 4), (2, 2, 3), {}, ShapeError, "x: got shape"),
        ((1, 2, 4, 4), (3, 2, 3, 3), {}, ShapeError, "weight: got 3 input channels, expected 2"),
        ((1, 4, 4, 4), (4, 2, 1, 1), {"groups": 3}, ShapeError, "groups: got 3, expected a divisor"),
        ((1, 4, 4, 4), (4, 2, 1, 1), {"groups": 0}, ShapeError, "groups: got 0, expected a divisor"),
        ((1, 2, 1, 1), (2, 2, 1, 1), {"padding": 1}, ShapeError, "y: got size -1"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"stride": 0}, ValueRangeError, "stride, dilation, padding"),
        (
            (1, 2, 4, 4),
            (2, 2, 3, 3),
            {"stride": 2, "output_padding": 2},
            ShapeError,
            "y: got size 11, expected 9 to 10",
        ),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"padding": (1, 1, 1)}, ShapeError, "padding: got"),
    ],
)
def test_conv_transpose3d_wrong_arguments_raise(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        ops.conv_transpose3d(normal(*x), normal(*w), **options)


def test_conv_transpose3d_bias_of_another_length_raises() -> None:
    with pytest.raises(ShapeError, match="bias: got 3 numbers, expected 2"):
        ops.conv_transpose3d(normal(1, 2, 4, 4), normal(2, 2, 3, 3), np.zeros(3))
