"""pointwise_depthwise: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernels.tolerances import SUM
from reference.epilogue import apply
from reference.pointwise_depthwise import pointwise_depthwise as reference

from covfast import ShapeError, ValueRangeError
from covfast.planar_ops import Epilogue, conv3d_fused, pointwise_depthwise

pytestmark = pytest.mark.op("pointwise_depthwise")
Array = np.ndarray[Any, Any]
PLAIN = Epilogue()


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def weights(channels: int, outputs: int, kernel: int) -> tuple[Array, Array]:
    return normal(outputs, channels, seed=1), normal(outputs, kernel, kernel, seed=2)


def assert_close(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=2 * SUM["float32"] * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("channels", "outputs"), [(3, 8), (8, 24), (1, 1), (5, 7), (7, 2)])
def test_pointwise_depthwise_equals_reference(
    backend: str, channels: int, outputs: int, kernel: int, stride: int
) -> None:
    x, (mix, weight) = normal(1, channels, 37, 70), weights(channels, outputs, kernel)
    for padding in range(kernel):
        y, total = pointwise_depthwise(x, mix, weight, PLAIN, stride=stride, padding=padding)
        assert total is None
        assert_close(y, reference(x, mix, weight, stride, padding))


@pytest.mark.parametrize("activation", ["none", "leaky", "sigmoid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_depthwise_with_an_epilogue_equals_reference(backend: str, activation: str, stride: int) -> None:
    x, (mix, weight) = normal(1, 3, 35, 67), weights(3, 6, 5)
    expected = reference(x, mix, weight, stride, 2)
    operands = (normal(*expected.shape, seed=seed) for seed in (7, 8, 9))
    epilogue = Epilogue(normal(6, seed=5), activation, normal(6, seed=6), *operands)
    y, total = pointwise_depthwise(x, mix, weight, epilogue, stride=stride, padding=2)
    expected, expected_total = apply(expected, epilogue)
    assert_close(y, expected)
    assert total is not None
    assert expected_total is not None
    assert_close(total, expected_total)


@pytest.mark.parametrize("size", range(1, 71, 3))
def test_pointwise_depthwise_of_every_size_equals_reference(backend: str, size: int) -> None:
    x, (mix, weight) = normal(1, 2, size, 71 - size), weights(2, 5, 5)
    for stride in (1, 2):
        y, _ = pointwise_depthwise(x, mix, weight, PLAIN, stride=stride, padding=2)
        assert_close(y, reference(x, mix, weight, stride, 2))


@pytest.mark.parametrize(("height", "width"), [(5, 1030), (130, 260), (40, 512)])
def test_pointwise_depthwise_of_many_tiles_equals_reference(backend: str, height: int, width: int) -> None:
    x, (mix, weight) = normal(1, 8, height, width), weights(8, 9, 5)
    for stride in (1, 2):
        y, _ = pointwise_depthwise(x, mix, weight, PLAIN, stride=stride, padding=2)
        assert_close(y, reference(x, mix, weight, stride, 2))


def test_pointwise_depthwise_equals_its_two_convolutions(backend: str) -> None:
    x, (mix, weight) = normal(1, 4, 33, 66), weights(4, 6, 3)
    mixed, _ = conv3d_fused(x, mix[:, :, None, None], PLAIN)
    expected, _ = conv3d_fused(mixed, weight[:, None], PLAIN, stride=(1, 2, 2), padding=(0, 1, 1), groups=6)
    assert_close(pointwise_depthwise(x, mix, weight, PLAIN, stride=2, padding=1)[0], expected)


def test_pointwise_depthwise_nan_reaches_what_sees_it_and_nothing_else(backend: str) -> None:
    x, (mix, weight) = normal(1, 4, 30, 60), weights(4, 4, 5)
    x[0, 1, 11, 33] = np.nan
    y, _ = pointwise_depthwise(x, mix, weight, PLAIN, stride=2, padding=2)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(reference(x, mix, weight, 2, 2)))


def test_pointwise_depthwise_any_number_of_threads_same_bits(backend: str) -> None:
    x, (mix, weight) = normal(1, 8, 67, 131), weights(8, 10, 5)
    one, _ = pointwise_depthwise(x, mix, weight, PLAIN, stride=2, padding=2, threads=1)
    many, _ = pointwise_depthwise(x, mix, weight, PLAIN, stride=2, padding=2, threads=3)
    np.testing.assert_array_equal(many, one)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "error", "match"),
    [
        (9, 3, 1, 1, ShapeError, "x: got 9 to 4 channels, expected 1 to 8"),
        (4, 6, 1, 1, ValueRangeError, "weight: got a kernel of 6, expected 1 to 5"),
        (4, 3, 3, 1, ValueRangeError, "stride, padding: got 3, 1"),
        (4, 3, 0, 1, ValueRangeError, "stride, padding: got 0, 1"),
        (4, 3, 1, 3, ValueRangeError, "stride, padding: got 1, 3"),
        (4, 5, 1, 0, ShapeError, "y: got size 0"),
    ],
)
def test_pointwise_depthwise_wrong_arguments_raise(
    channels: int, kernel: int, stride: int, padding: int, error: type[Exception], match: str
) -> None:
    mix, weight = weights(channels, 4, kernel)
    with pytest.raises(error, match=match):
        pointwise_depthwise(normal(1, channels, 4, 4), mix, weight, PLAIN, stride=stride, padding=padding)


def test_pointwise_depthwise_wrong_shapes_raise() -> None:
    mix, weight = weights(4, 4, 3)
    with pytest.raises(ShapeError, match="mix_weight: got 16 numbers, expected rows of 3"):
        pointwise_depthwise(normal(1, 3, 4, 4), mix, weight, PLAIN)
    with pytest.raises(ShapeError, match="weight: got 27 numbers"):
        pointwise_depthwise(normal(1, 4, 4, 4), mix, weight[:3], PLAIN)
    with pytest.raises(ShapeError, match="x: got a batch of 2"):
        pointwise_depthwise(normal(2, 4, 4, 4), mix, weight, PLAIN)
