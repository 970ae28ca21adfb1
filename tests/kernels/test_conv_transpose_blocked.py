"""conv_transpose_blocked: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import SUM
from reference.blocked import BF16, rounded
from reference.conv_transpose3d import conv_transpose3d

from covfast import ShapeError, ValueRangeError, blocked_layers

pytestmark = pytest.mark.op("conv_transpose_blocked")

CHANNELS = [(1, 1), (2, 3), (6, 7), (8, 15), (16, 16), (17, 24), (24, 17), (40, 50)]
STRIDES = [(1, 2, 2), (2, 2, 2), (1, 1, 1), (2, 1, 3)]
SIZES = [(1, 1, 1), (1, 3, 4), (1, 1, 70), (3, 5, 6), (2, 9, 31)]


def normal(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def reference(x: npt.NDArray[Any], weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> npt.NDArray[np.float64]:
    return conv_transpose3d(x, weight, bias, stride=weight.shape[2:])


def check(got: npt.NDArray[Any], expected: npt.NDArray[Any], element: str = "f32") -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(
        got, expected, rtol=BF16 * 1.01 if element == "bf16" else 0, atol=SUM["float32"] * np.abs(expected).max()
    )


@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_conv_transpose_blocked_equals_reference(
    backend: str, channels: tuple[int, int], stride: tuple[int, ...], element: str
) -> None:
    ins, outs = channels
    weight, bias = rounded(normal(ins, outs, *stride, seed=1), element), normal(outs, seed=2)
    for size in SIZES:
        x = rounded(normal(1, ins, *size), element)
        got = blocked_layers.conv_transpose_blocked(x, weight, bias, elements=(element, element))
        check(got, reference(x, weight, bias), element)


def test_conv_transpose_blocked_sizes_to_70(backend: str) -> None:
    weight = normal(5, 18, 1, 2, 2, seed=1)
    for size in range(1, 71):
        for shape in ((1, 1, size), (1, size, 1)):
            x = normal(1, 5, *shape)
            check(blocked_layers.conv_transpose_blocked(x, weight), reference(x, weight, None))


@pytest.mark.parametrize("to_element", ["f32", "bf16"])
@pytest.mark.parametrize("from_element", ["f32", "bf16"])
def test_conv_transpose_blocked_finishes_with_its_epilogue(backend: str, from_element: str, to_element: str) -> None:
    x, weight = rounded(normal(1, 20, 3, 4, 5), from_element), rounded(normal(20, 33, 2, 2, 2, seed=1), from_element)
    bias, slope = normal(33, seed=2), np.full(33, 0.25, np.float32)
    before, after = (rounded(normal(1, 33, 6, 8, 10, seed=s), to_element) for s in (3, 4))
    options: dict[str, Any] = {"activation": "leaky", "slope": slope, "before": before, "after": after}
    got = blocked_layers.conv_transpose_blocked(x, weight, bias, **options, elements=(from_element, to_element))
    v = reference(x, weight, bias) + before
    check(got, np.where(v > 0, v, 0.25 * v) + after, to_element)


def test_conv_transpose_blocked_lanes_may_have_gaps(backend: str) -> None:
    x, weight, bias = normal(1, 4, 2, 3, 5), normal(4, 3, 1, 2, 2, seed=1), normal(3, seed=2)
    ins, outs = [2, -1, 0, *[-1] * 13, 3, 1, *[-1] * 14], [-1, 2, 0, *[-1] * 29, 1, *[-1] * 15]
    after = normal(1, 3, 2, 6, 10, seed=3)
    got = blocked_layers.conv_transpose_blocked(x, weight, bias, after=after, lanes=(ins, outs))
    check(got, reference(x, weight, bias) + after)


def test_conv_transpose_blocked_of_u8_within_its_steps(backend: str) -> None:
    x, weight, bias = normal(1, 20, 1, 5, 7), normal(20, 18, 1, 2, 2, seed=1), normal(18, seed=2)
    got = blocked_layers.conv_transpose_blocked(x, weight, bias, elements=("u8", "f32"))
    step = np.abs(x).max() / 127
    steps = np.abs(weight).max(axis=(0, 2, 3, 4), keepdims=True) / 127
    exact = reference(rounded(x, "u8", step), np.rint(weight / steps) * steps, bias)
    check(got, exact)


def test_conv_transpose_blocked_nan_stays_in_its_window(backend: str) -> None:
    x, weight = normal(1, 3, 1, 4, 20), normal(3, 17, 1, 2, 2, seed=1)
    x[0, 1, 0, 2, 15] = np.nan
    got = blocked_layers.conv_transpose_blocked(x, weight)
    expected = np.zeros(got.shape, bool)
    expected[..., 4:6, 30:32] = True
    np.testing.assert_array_equal(np.isnan(got), expected)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_conv_transpose_blocked_any_number_of_threads_same_bits(backend: str, threads: int) -> None:
    x, weight = normal(1, 20, 3, 20, 21), normal(20, 40, 2, 2, 2, seed=1)
    many = blocked_layers.conv_transpose_blocked(x, weight, threads=threads)
    np.testing.assert_array_equal(many, blocked_layers.conv_transpose_blocked(x, weight, threads=1))


def test_conv_transpose_blocked_wrong_arguments_raise() -> None:
    x = normal(1, 3, 4, 5)
    with pytest.raises(ShapeError, match="weight: got 5 axes"):
        blocked_layers.conv_transpose_blocked(x, normal(4, 2, 2, 2))
    with pytest.raises(ShapeError, match="bias: got 3 numbers, expected 2"):
        blocked_layers.conv_transpose_blocked(x, normal(3, 2, 2, 2), np.ones(3))
    with pytest.raises(ValueRangeError, match="y_element: got u8"):
        blocked_layers.conv_transpose_blocked(x, normal(3, 2, 2, 2), elements=("f32", "u8"))
    with pytest.raises(ValueRangeError, match="expected one slope for each channel"):
        blocked_layers.conv_transpose_blocked(x, normal(3, 2, 2, 2), activation="leaky")
