"""conv_blocked: reference, laws, edges, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels.tolerances import SUM
from reference.blocked import BF16, rounded
from reference.conv3d import conv3d as reference

from covfast import ShapeError, ValueRangeError, _core, blocked_ops
from covfast.blocked_conv import ConvolutionOptions, conv_blocked, conv_blocked_fused

pytestmark = pytest.mark.op("conv_blocked")
PART = 336  # voxels of one part of the statistics and of one item of the kernel

Floats = npt.NDArray[np.float32]


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def assert_close(got: npt.NDArray[Any], expected: npt.NDArray[Any], relative: float = SUM["float32"]) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=relative * max(1.0, float(np.abs(expected).max())))


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3x3": ((1, 20, 5, 9, 31), (40, 20, 3, 3, 3), {"padding": 1}),
    "3x3x3 strided": ((1, 17, 6, 13, 61), (33, 17, 3, 3, 3), {"padding": 1, "stride": 2}),
    "pointwise": ((1, 50, 3, 7, 50), (70, 50, 1, 1, 1), {}),
    "pointwise strided": ((1, 5, 4, 9, 11), (6, 5, 1, 1, 1), {"stride": 2}),
    "dilated": ((1, 24, 1, 40, 37), (16, 24, 1, 3, 3), {"padding": (0, 8, 8), "dilation": (1, 8, 8)}),
    "dilation beyond the image": ((1, 4, 1, 8, 8), (5, 4, 1, 3, 3), {"padding": (0, 16, 16), "dilation": (1, 16, 16)}),
    "anisotropic": ((1, 2, 6, 9, 33), (3, 2, 1, 3, 5), {"padding": (0, 1, 2), "stride": (1, 2, 3)}),
    "even kernel, no padding": ((1, 3, 4, 5, 36), (4, 3, 2, 3, 4), {}),
    "padding beyond the kernel": ((1, 3, 3, 4, 5), (4, 3, 3, 3, 3), {"padding": (3, 4, 5)}),
    "7x7, more taps than one pass": ((1, 3, 3, 19, 40), (10, 3, 3, 7, 7), {"padding": (1, 3, 3), "stride": (1, 2, 2)}),
    "channels of two passes": ((1, 112, 5, 6, 7), (30, 112, 3, 3, 3), {"padding": 1}),
    "a stretch of 70": ((1, 2, 1, 3, 99), (4, 2, 1, 1, 70), {"padding": (0, 0, 3)}),
    "three blocks": ((1, 16, 2, 5, 40), (48, 16, 3, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("planar", [False, True])
def test_conv_blocked_equals_reference(backend: str, case: str, planar: bool) -> None:
    x_shape, w_shape, window = CASES[case]
    x, w, b = normal(*x_shape), normal(*w_shape, seed=1), normal(w_shape[0], seed=2)
    got = conv_blocked_fused(x, w, b, ConvolutionOptions(**window, planar=planar))
    assert_close(got.y, reference(x, w, b, **window))


@pytest.mark.parametrize("case", CASES)
def test_conv_blocked_bf16_equals_reference_of_rounded_operands(backend: str, case: str) -> None:
    x_shape, w_shape, window = CASES[case]
    x, w, b = rounded(normal(*x_shape), "bf16"), rounded(normal(*w_shape, seed=1), "bf16"), normal(w_shape[0], seed=2)
    expected = reference(x, w, b, **window)
    exact = conv_blocked_fused(x, w, b, ConvolutionOptions(**window, element="bf16"))
    assert_close(exact.y, expected)
    stored = conv_blocked_fused(x, w, b, ConvolutionOptions(**window, element="bf16", y_element="bf16"))
    np.testing.assert_array_equal(stored.y, rounded(exact.y, "bf16"))
    # Statistics are those of the values that a norm will read, not of the sums before they were rounded.
    voxels = stored.y.reshape(w_shape[0], -1).astype(np.float64)
    total = stored.stats.sum(axis=0, dtype=np.float64)[: len(voxels)]
    for got, powers in zip(total.T, (voxels, voxels**2), strict=True):
        np.testing.assert_allclose(got, powers.sum(axis=1), atol=1e-6 * float(np.abs(powers).sum(axis=1).max()))


@pytest.mark.parametrize("case", CASES)
def test_conv_blocked_u8_is_exact(backend: str, case: str) -> None:
    x_shape, w_shape, window = CASES[case]
    draw = np.random.default_rng(0)
    x, w = draw.integers(-127, 128, x_shape).astype(np.float32), draw.integers(-127, 128, w_shape).astype(np.float32)
    x.flat[0], w[:, 0, 0, 0, 0] = -127, 127  # so that one step is 1, of x and of every output channel
    b = draw.integers(-99, 100, w_shape[0]).astype(np.float32)
    expected = reference(x, w, b, **window)
    got = conv_blocked(x, w, b, **window, element="u8")
    # Integers up to 2^24 are floats; the sum of q = x + 128 is larger than the answer and is rounded beyond that.
    most = float(np.abs(w).sum(axis=(1, 2, 3, 4)).max()) * 255
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if most < 2**24 else most * 2.0**-22)


def test_conv_blocked_u8_never_saturates(backend: str) -> None:
    x = np.full((1, 64, 1, 3, 20), 127, np.float32)
    w = np.where(np.arange(32) % 2, 127, -127).astype(np.float32).reshape(32, 1, 1, 1, 1) * np.ones((1, 64, 1, 3, 3))
    window = {"padding": (0, 1, 1)}
    np.testing.assert_array_equal(conv_blocked(x, w, **window, element="u8"), reference(x, w, **window))


@pytest.mark.parametrize("element", ["f32", "bf16", "u8"])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 17, 27, 28, 29, 56, 69, 70])
def test_conv_blocked_any_width_equals_reference(backend: str, width: int, element: str) -> None:
    x, w = normal(1, 3, 2, 3, width), normal(17, 3, 3, 3, 3, seed=1)
    relative = {"f32": SUM["float32"], "bf16": 4 * BF16, "u8": 0.04}[element]
    for stride in (1, 2, 3):
        window: dict[str, Any] = {"padding": (1, 1, 1), "stride": (1, 1, stride)}
        assert_close(conv_blocked(x, w, **window, element=element), reference(x, w, **window), relative)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 33, 70])
@pytest.mark.parametrize("axis", [0, 1])
def test_conv_blocked_any_depth_and_height_equals_reference(backend: str, size: int, axis: int) -> None:
    x = normal(1, 2, *((size, 3, 5) if axis == 0 else (3, size, 5)))
    w = normal(3, 2, 3, 3, 3, seed=1)
    assert_close(conv_blocked(x, w, padding=1), reference(x, w, padding=1))


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 7, 8, 15, 16, 17, 24])
def test_conv_blocked_any_channels_equal_reference(backend: str, channels: int) -> None:
    x = normal(1, channels, 2, 5, 18)
    for outs in (1, 8, 17, 49):
        w = normal(outs, channels, 1, 3, 3, seed=1)
        assert_close(conv_blocked(x, w, padding=(0, 1, 1)), reference(x, w, padding=(0, 1, 1)))


def activated(v: npt.NDArray[Any], activation: str, slope: Floats) -> npt.NDArray[Any]:
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-v))
    return np.where(v > 0, v, v * slope.reshape(1, -1, 1, 1, 1)) if activation == "leaky" else v


@pytest.mark.parametrize("activation", ["none", "leaky", "sigmoid"])
@pytest.mark.parametrize("y_element", ["f32", "bf16"])
def test_conv_blocked_epilogue_equals_reference(backend: str, activation: str, y_element: str) -> None:
    x, w, b, slope = normal(1, 9, 3, 5, 17), normal(20, 9, 3, 3, 3, seed=1), normal(20, seed=2), normal(20, seed=3)
    before, after, other = (rounded(normal(1, 20, 3, 5, 17, seed=s), y_element) for s in (4, 5, 6))
    relative = SUM["float32"] + (2 * BF16 if y_element == "bf16" else 0)
    sums = reference(x, w, b, padding=1)
    shared: dict[str, Any] = {"padding": 1, "activation": activation, "slope": slope, "y_element": y_element}
    got = conv_blocked_fused(x, w, b, ConvolutionOptions(**shared))
    assert got.total is None
    assert_close(got.y, activated(sums, activation, slope), relative)
    got = conv_blocked_fused(x, w, b, ConvolutionOptions(**shared, before=before, after=after, other=other))
    expected = activated(sums + before, activation, slope) + after
    assert_close(got.y, expected, relative)
    assert got.total is not None
    assert_close(got.total, expected + other, relative)


@pytest.mark.parametrize("y_element", ["f32", "bf16"])
def test_conv_blocked_minus_infinity_becomes_zero_by_relu_alone(backend: str, y_element: str) -> None:
    x, w, slope = normal(1, 9, 1, 5, 17), normal(20, 9, 1, 3, 3, seed=1), np.arange(20, dtype=np.float32) % 3
    before = np.full((1, 20, 1, 5, 17), -np.inf, np.float32)
    before[0, 0, 0, 0, 0] = np.nan
    window: dict[str, Any] = {"padding": (0, 1, 1), "activation": "leaky", "slope": slope, "y_element": y_element}
    got = conv_blocked_fused(x, w, None, ConvolutionOptions(**window, before=before))
    expected = np.broadcast_to(np.where(slope == 0, 0, -np.inf).reshape(1, -1, 1, 1, 1), before.shape).copy()
    expected[0, 0, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(got.y, expected)


@pytest.mark.parametrize("element", ["f32", "bf16", "u8"])
def test_conv_blocked_stats_are_those_of_sum_and_bias(backend: str, element: str) -> None:
    x, w, b = normal(1, 5, 4, 15, 23), normal(21, 5, 3, 3, 3, seed=1), normal(21, seed=2)
    v = conv_blocked(x, w, b, padding=1, element=element).astype(np.float64).reshape(21, -1)
    options = ConvolutionOptions(padding=1, element=element, activation="sigmoid", before=normal(1, 21, 4, 15, 23))
    stats = conv_blocked_fused(x, w, b, options).stats
    assert stats.shape == (-(-v.shape[1] // PART), 32, 2)
    for i, part in enumerate(stats):
        of_part = v[:, i * PART : (i + 1) * PART]
        assert_close(part[:21, 0], of_part.sum(1))
        assert_close(part[:21, 1], (of_part**2).sum(1))
    np.testing.assert_array_equal(stats[:, 21:], 0)


def test_conv_blocked_lanes_with_gaps(backend: str) -> None:
    x, w, b = normal(1, 20, 2, 4, 9), normal(6, 20, 1, 3, 3, seed=1), normal(6, seed=2)
    ins = [*range(5, 10), *[-1] * 11, -1, *range(5), *range(10, 20)]
    outs = [4, -1, 0, *[-1] * 13, -1, 1, 2, 3, 5, *[-1] * 11]
    for element in ("f32", "bf16", "u8"):
        expected = conv_blocked(x, w, b, padding=(0, 1, 1), element=element)
        options = ConvolutionOptions(padding=(0, 1, 1), element=element, in_lanes=ins, out_lanes=outs)
        assert_close(conv_blocked_fused(x, w, b, options).y, expected)


def test_conv_blocked_lanes_without_a_channel_become_zero(backend: str) -> None:
    x, w = normal(1, 16, 1, 4, 30), normal(18, 16, 1, 3, 3, seed=1)
    x[0, 0, 0, 2, 3] = np.nan
    raw = blocked_ops.to_blocked(x.reshape(16, -1), range(16)).reshape(1, 1, 4, 30, 16)
    lanes = [*range(18), *[-1] * 14]
    window = [[1, 1, 1], [0, 1, 1], [1, 1, 1]]
    epilogue = (2, None, None, [None, None, None])
    y, _, stats = _core.conv_blocked(raw, w, [*range(16)], lanes, window, [0, 0], None, False, epilogue, "auto", 0)
    assert y.shape == (2, 1, 4, 30, 16)
    np.testing.assert_array_equal(y[1, ..., 2:], 0)
    np.testing.assert_array_equal(stats[:, 18:], 0)
    assert not np.any(y[0] == 0)


def test_conv_blocked_nan_reaches_the_voxels_that_see_it(backend: str) -> None:
    x, w = normal(1, 3, 3, 9, 33), normal(4, 3, 3, 3, 3, seed=1)
    x[0, 1, 1, 4, 14] = np.nan
    for element in ("f32", "bf16"):
        y = conv_blocked(x, w, padding=1, element=element)
        sees = np.zeros((3, 9, 33), bool)
        sees[:, 3:6, 13:16] = True
        np.testing.assert_array_equal(np.isnan(y[0]), np.broadcast_to(sees, (4, 3, 9, 33)))


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("element", ["f32", "bf16", "u8"])
def test_conv_blocked_any_number_of_threads_same_bits(backend: str, element: str, threads: int) -> None:
    x, w = normal(1, 112, 3, 17, 30), normal(40, 112, 3, 3, 3, seed=1)
    one, many = (
        conv_blocked_fused(x, w, None, ConvolutionOptions(padding=1, element=element, threads=n)) for n in (1, threads)
    )
    np.testing.assert_array_equal(one.y, many.y)
    np.testing.assert_array_equal(one.stats, many.stats)


def test_conv_blocked_2d_equals_depth_one(backend: str) -> None:
    x, w = normal(1, 3, 8, 9), normal(4, 3, 3, 3, seed=1)
    deep = conv_blocked(x[:, :, None], w[:, :, None], padding=(0, 1, 1), stride=(1, 2, 2))
    np.testing.assert_array_equal(conv_blocked(x, w, padding=1, stride=2), deep[:, :, 0])


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "match"),
    [
        ((1, 2, 4), (2, 2, 3), {}, ShapeError, "x: got shape"),
        ((2, 2, 4, 4), (2, 2, 3, 3), {}, ShapeError, "x: got shape"),
        ((1, 2, 4, 4), (2, 3, 3, 3), {}, ShapeError, "weight: got shape"),
        ((1, 2, 2, 2), (2, 2, 5, 5), {}, ShapeError, "y: got size 0"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"stride": 0}, ValueRangeError, "stride, dilation, padding"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"padding": (1, 1, 1)}, ShapeError, "got"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"element": "f64"}, ValueRangeError, "element: got 'f64'"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"y_element": "u8"}, ValueRangeError, "y_element: got u8"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"element": "bf16", "planar": True}, ValueRangeError, "planar"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"activation": "leaky"}, ValueRangeError, "epilogue: got kLeaky without a slope"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"out_lanes": [0, 1]}, ShapeError, "out: got 2 lanes"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"out_lanes": [0, 2, *[-1] * 14]}, ShapeError, "out_lanes: got channel 2"),
        ((1, 2, 4, 4), (2, 2, 3, 3), {"before": np.zeros((1, 2, 4, 4))}, ShapeError, "before, after, other: got"),
    ],
)
def test_conv_blocked_wrong_arguments_raise(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        conv_blocked_fused(normal(*x), normal(*w), None, ConvolutionOptions(**options))


def test_conv_blocked_bias_of_another_length_raises() -> None:
    with pytest.raises(ShapeError, match="bias, slope: got 3 numbers, expected 2"):
        conv_blocked(normal(1, 2, 4, 4), normal(2, 2, 3, 3), np.zeros(3))
